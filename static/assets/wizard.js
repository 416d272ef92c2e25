// The wizard: two sliders over the chart of interactions choose the period, and the fields beside them can be typed in.

const span = document.getElementById("span");
if (span) sliders();

function sliders() {
  const first = Number(span.dataset.from);
  const last = Number(span.dataset.to);
  const steps = 200;
  const field = { from: document.getElementById("from"), to: document.getElementById("to") };
  const slide = { from: document.getElementById("slide-from"), to: document.getElementById("slide-to") };
  const day = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 10);
  const at = (step) => first + ((last - first) * step) / steps;
  const stepOf = (text, otherwise) => {
    const time = Date.parse(text) / 1000;
    return Number.isFinite(time) ? Math.round(((time - first) / (last - first)) * steps) : otherwise;
  };
  for (const end of ["from", "to"]) slide[end].max = String(steps);

  function show() {
    slide.from.value = String(stepOf(field.from.value, 0));
    slide.to.value = String(stepOf(field.to.value, steps));
    for (const end of ["from", "to"]) slide[end].setAttribute("aria-valuetext", field[end].value || day(at(Number(slide[end].value))));
    paint();
  }

  /** Bars outside of the period step back. */
  function paint() {
    const bars = span.querySelectorAll("rect.bar");
    const [low, high] = [Number(slide.from.value) / steps, Number(slide.to.value) / steps];
    for (const [index, bar] of [...bars].entries()) {
      const place = (index + 0.5) / bars.length;
      bar.setAttribute("opacity", place < low || place > high ? "0.25" : "1");
    }
  }

  slide.from.addEventListener("input", () => {
    if (Number(slide.from.value) >= Number(slide.to.value)) slide.from.value = String(Number(slide.to.value) - 1);
    field.from.value = Number(slide.from.value) > 0 ? day(at(Number(slide.from.value))) : "";
    show();
  });
  slide.to.addEventListener("input", () => {
    if (Number(slide.to.value) <= Number(slide.from.value)) slide.to.value = String(Number(slide.from.value) + 1);
    field.to.value = Number(slide.to.value) < steps ? day(at(Number(slide.to.value))) : "";
    show();
  });
  for (const end of ["from", "to"]) field[end].addEventListener("change", show);
  document.getElementById("sliders").hidden = false;
  show();
}

// The first button of a form is what Enter means; here it is what the field is for.
const create = document.getElementById("create");
for (const id of ["name", "score_expression"]) {
  document.getElementById(id)?.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !create) return;
    event.preventDefault();
    create.form.requestSubmit(create);
  });
}

// Fields of a profile can be chosen only when people come from it.
for (const select of document.querySelectorAll("#agent_source, #customer_source")) {
  const show = () => {
    for (const it of document.querySelectorAll(`[data-source="${select.name}"]`)) {
      it.hidden = select.value !== "profile";
      if (it.hidden) it.querySelector("input").checked = false;
    }
  };
  select.addEventListener("change", show);
  show();
}
