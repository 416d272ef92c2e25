//! Asks before something is lost, and names it: a page of its own that sends the same form again, so that it works without
//! a script, wherever the button was.

use minijinja::context;

use super::form::Form;
use super::visit::{PageResult, Visit};

pub(super) struct Question<'a> {
    pub title: String,
    /// What will be lost, and what stays; a sentence each.
    pub lost: Vec<String>,
    /// On the button that does it.
    pub yes: &'a str,
    /// The page of whoever does not want it.
    pub back: &'a str,
}

/// The form comes back with `sure`.
pub(super) async fn ask(visit: &Visit, form: &Form, question: Question<'_>) -> PageResult {
    let Question { title, lost, yes, back } = question;
    let kept = form.pairs();
    visit.page("sure.html", context! { title, lost, yes, back, kept }).await
}
