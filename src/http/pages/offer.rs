//! What a list to choose from offers: the newest hundred, or those whose names contain what is looked for (`find`, of
//! datasets `find_dataset`, in the address), and always what is chosen. So everything can be chosen, however much there is, and
//! without a script.

use serde_json::{Value, json};

use super::visit::{Visit, segment};
use crate::http::ApiError;

/// Entries that a list to choose from holds.
const MOST: usize = 100;
/// Predictors of whose models all are offered, when predictors are found by name.
const PREDICTORS: usize = 10;

/// What is looked for by name.
fn sought(visit: &Visit) -> String {
    visit.asked("find").unwrap_or_default()
}

/// Adds what is chosen when the list has it not; nothing when it is there no more.
async fn with_chosen(visit: &Visit, mut list: Value, kind: &str, chosen: Option<&str>) -> Result<Value, ApiError> {
    let Some(chosen) = chosen else { return Ok(list) };
    let Some(items) = list["items"].as_array_mut() else { return Ok(list) };
    if items.iter().all(|it| it["id"] != chosen && it["name"] != chosen) {
        let found = visit.get_if_there(&format!("/{kind}/{}", segment(chosen))).await?;
        if !found.is_null() {
            items.insert(0, found);
        }
    }
    Ok(list)
}

/// Datasets; `more` is added to the query of the list.
pub(super) async fn datasets(visit: &Visit, more: &str, chosen: Option<&str>) -> Result<Value, ApiError> {
    let find = segment(&visit.asked("find_dataset").unwrap_or_default());
    let list = visit.get(&format!("/datasets?limit={MOST}&sort=-id&name={find}{more}")).await?;
    with_chosen(visit, list, "datasets", chosen).await
}

pub(super) async fn predictors(visit: &Visit, chosen: Option<&str>) -> Result<Value, ApiError> {
    let find = segment(&sought(visit));
    let list = visit.get(&format!("/predictors?limit={MOST}&sort=-id&contains={find}")).await?;
    with_chosen(visit, list, "predictors", chosen).await
}

/// Models by their names, and all of the predictors that are found by theirs.
pub(super) async fn models(visit: &Visit, predictors: &Value) -> Result<Value, ApiError> {
    let find = sought(visit);
    let mut list = visit.get(&format!("/models?limit={MOST}&sort=-id&contains={}", segment(&find))).await?;
    if find.is_empty() {
        return Ok(list);
    }
    let mut items = list["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
    for predictor in predictors["items"].as_array().into_iter().flatten().take(PREDICTORS) {
        let id = predictor["id"].as_str().unwrap_or_default();
        let of_it = visit.get(&format!("/models?limit={MOST}&sort=-id&predictor_id={id}")).await?;
        let new = of_it["items"].as_array().into_iter().flatten();
        let new: Vec<Value> = new.filter(|it| items.iter().all(|known| known["id"] != it["id"])).cloned().collect();
        items.extend(new);
    }
    list["items"] = json!(items);
    Ok(list)
}
