// Texts of scripts in the page's language, from the one catalogue that the server has.

const language = document.documentElement.lang;
const texts = language === "en" ? {} : await load();

async function load() {
  try {
    const answer = await fetch(`/texts/${language}`);
    return answer.ok ? await answer.json() : {};
  } catch {
    // English is better than nothing.
    return {};
  }
}

/** `t("{n} of {m}", { n: 1, m: 2 })` */
export function t(english, values = {}) {
  let text = texts[english] ?? english;
  for (const [name, value] of Object.entries(values)) text = text.replaceAll(`{${name}}`, value);
  return text;
}
