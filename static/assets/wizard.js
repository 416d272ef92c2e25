// The wizard: two sliders over the chart of interactions choose the period, and the fields beside them can be typed in.

const span = document.getElementById("span");
if (span) sliders();

function sliders() {
  const DAY = 86_400;
  const [first, last] = [Number(span.dataset.from), Number(span.dataset.to)];
  const field = { from: document.getElementById("from"), to: document.getElementById("to") };
  const slide = { from: document.getElementById("slide-from"), to: document.getElementById("slide-to") };
  // A step is a whole number of days, so that each says another day.
  const firstDay = Math.floor(first / DAY);
  const days = Math.max(Math.ceil(last / DAY) - firstDay, 1);
  const daysAStep = Math.ceil(days / 400);
  const steps = Math.ceil(days / daysAStep);
  const at = (step) => (firstDay + step * daysAStep) * DAY;
  const day = (step) => new Date(at(step) * 1000).toISOString().slice(0, 10);
  const stepOf = (text, otherwise) => {
    const time = Date.parse(text) / 1000;
    return Number.isFinite(time) ? Math.round((time / DAY - firstDay) / daysAStep) : otherwise;
  };
  for (const end of ["from", "to"]) slide[end].max = String(steps);

  function show() {
    slide.from.value = String(stepOf(field.from.value, 0));
    slide.to.value = String(stepOf(field.to.value, steps));
    for (const end of ["from", "to"]) slide[end].setAttribute("aria-valuetext", field[end].value || day(Number(slide[end].value)));
    paint();
  }

  /** Bars outside of the period step back. */
  function paint() {
    const place = (slider) => (at(Number(slider.value)) - first) / (last - first || 1);
    const [low, high] = [place(slide.from), place(slide.to)];
    for (const picture of span.querySelectorAll("svg")) {
      const bars = [...picture.querySelectorAll("rect.bar")];
      for (const [index, bar] of bars.entries()) {
        const middle = (index + 0.5) / bars.length;
        bar.setAttribute("opacity", middle < low || middle > high ? "0.25" : "1");
      }
    }
  }

  slide.from.addEventListener("input", () => {
    if (Number(slide.from.value) >= Number(slide.to.value)) slide.from.value = String(Number(slide.to.value) - 1);
    field.from.value = Number(slide.from.value) > 0 ? day(Number(slide.from.value)) : "";
    show();
  });
  slide.to.addEventListener("input", () => {
    if (Number(slide.to.value) <= Number(slide.from.value)) slide.to.value = String(Number(slide.from.value) + 1);
    field.to.value = Number(slide.to.value) < steps ? day(Number(slide.to.value)) : "";
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
