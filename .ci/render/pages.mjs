// Opens every page of a folder in Chromium: node pages.mjs FOLDER
//
// Beside each .html stands a .json with what the layout trees of the page hold. Light at 1280 pixels and dark at 400, each page must show
// all of it in boxes that are not empty, numerators above denominators and rows below each other, nothing wider than the page without a
// box that scrolls, and ink of the right colour; it must ask for nothing but itself and log nothing. Pages that are known to be bad must be
// rejected first, or the check itself is broken.

import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const VIEWS = [
  { colorScheme: "light", viewport: { width: 1280, height: 900 } },
  { colorScheme: "dark", viewport: { width: 400, height: 800 } },
];
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"];
const MORE_FLAGS = ["--disable-component-update", "--disable-sync"];

const head = (text, addition) => text.replace("</head>", `${addition}</head>`);
const style = (rules) => (text) => head(text, `<style>${rules}</style>`);

// What makes a good page bad, by the problem that must be found.
const BAD = [
  [/logged/, (text) => head(text, "<script>console.error('no')</script>")],
  [/logged|error/, (text) => head(text, "<script>throw new Error('no')</script>")],
  [/asks for/, (text) => head(text, '<link rel="stylesheet" href="http://127.0.0.1:9/style.css">')],
  [/fractions/, (text) => text.replace(/<mfrac>.*?<\/mfrac>/s, "")],
  [/fractions/, style("mfrac{display:none}")],
  [/rows/, style("mtr{display:none}")],
  [/bars/, (text) => text.replaceAll(/<mo form="infix"[^>]*>\|<\/mo>/g, "")],
  [/lines/, style(".lines>div:last-child{display:none}")],
  [/numerator/, style("mfrac>:first-child{transform:translateY(99px)}")],
  [/below/, style("mtr:last-child>mtd{transform:translateY(-499px)}")],
  [/wider/, style("p{width:3000px;max-width:none}")],
  [/wider/, style(".wide{overflow:visible}.wide>*{min-width:3000px}")],
  [/ink/, style("main{visibility:hidden}")],
  [/ink/, style("body{background:#888;color:#888}")],
];

// In the page: what is shown, and what is wrong with how it is laid out.
function measure() {
  const shown = (element) => {
    const box = element.getBoundingClientRect();
    return box.width > 0 && box.height > 0;
  };
  const count = (selector) => [...document.querySelectorAll(selector)].filter(shown).length;
  const problems = [];
  for (const fraction of [...document.querySelectorAll("mfrac")].filter(shown)) {
    const [above, below] = [...fraction.children].map((child) => child.getBoundingClientRect());
    if (above.bottom > below.top + 1) problems.push(`a numerator ends at ${above.bottom}, its denominator begins at ${below.top}`);
  }
  for (const table of document.querySelectorAll("mtable")) {
    const rows = [...table.children].map((row) => row.firstElementChild.getBoundingClientRect());
    rows.slice(1).forEach((row, k) => {
      if (row.top < rows[k].bottom - 2) problems.push("a row is not below the one before it");
    });
  }
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > width) problems.push(`the page is wider than the window: ${document.documentElement.scrollWidth}`);
  for (const element of document.querySelectorAll("main *")) {
    if (element.getBoundingClientRect().right > width + 1 && !element.closest(".wide")) problems.push(`${element.tagName} is wider than the page`);
  }
  for (const box of document.querySelectorAll(".wide")) {
    if (box.scrollWidth > box.clientWidth && !(getComputedStyle(box).overflowX === "auto" && box.tabIndex === 0)) {
      problems.push("a box is wider than the page and does not scroll by keys");
    }
  }
  const bars = [...document.querySelectorAll('mo[form="infix"]')].filter((mo) => mo.textContent === "|" && shown(mo)).length;
  const lines = [...document.querySelectorAll(".lines>div")].filter((line) => [...line.children].some(shown)).length;
  return { problems: [...new Set(problems)], counts: { fractions: count("mfrac"), rows: count("mtr"), bars, lines } };
}

// In a blank page: how many of a picture's points differ from its corner, in thousandths, and how light the corner is.
async function ink(source) {
  const picture = new Image();
  picture.src = source;
  await picture.decode();
  const canvas = new OffscreenCanvas(picture.width, picture.height);
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0);
  const { data } = context.getImageData(0, 0, picture.width, picture.height);
  const light = (at) => (data[at] + data[at + 1] + data[at + 2]) / 765;
  let different = 0;
  for (let at = 0; at < data.length; at += 4) different += Math.abs(light(at) - light(0)) > 0.3;
  return { share: (4000 * different) / data.length, ground: light(0) };
}

async function look(browser, path, expected, views = VIEWS) {
  const problems = [];
  for (const view of views) {
    const context = await browser.newContext(view);
    const page = await context.newPage();
    const found = [];
    page.on("console", (message) => found.push(`it logged ${message.text()}`));
    page.on("pageerror", (error) => found.push(`error: ${error.message}`));
    const url = pathToFileURL(path).href;
    await context.route("**/*", (route) => {
      if (route.request().url() === url) return route.continue();
      found.push(`it asks for ${route.request().url()}`);
      return route.abort();
    });
    await page.goto(url, { waitUntil: "load" });
    const { problems: wrong, counts } = await page.evaluate(measure);
    found.push(...wrong);
    for (const [what, number] of Object.entries(expected)) {
      if (counts[what] !== number) found.push(`${counts[what]} ${what} are shown, ${number} are in the layout trees`);
    }
    const picture = await page.screenshot();
    const blank = await context.newPage();
    const { share, ground } = await blank.evaluate(ink, `data:image/png;base64,${picture.toString("base64")}`);
    if (share < 3 || share > 400) found.push(`${share.toFixed(1)} thousandths of the page are ink`);
    if (ground > 0.5 !== (view.colorScheme === "light")) found.push(`the ink stands on a ground of lightness ${ground.toFixed(2)}`);
    await context.close();
    problems.push(...found.map((problem) => `${view.colorScheme}, ${view.viewport.width} pixels: ${problem}`));
  }
  return problems;
}

async function rejectBad(browser, path, expected) {
  const folder = mkdtempSync(join(tmpdir(), "pages-"));
  try {
    const good = readFileSync(path, "utf8");
    for (const [wanted, spoil] of BAD) {
      const bad = join(folder, "bad.html");
      const text = spoil(good);
      if (text === good) throw new Error(`${path} has nothing that ${wanted} can be tried on`);
      writeFileSync(bad, text);
      const problems = await look(browser, bad, expected, [VIEWS[0]]);
      if (!problems.some((problem) => wanted.test(problem))) throw new Error(`${wanted} is not found: this check cannot fail (${problems})`);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function main([folder, sample = "sample"]) {
  const names = readdirSync(folder).filter((name) => name.endsWith(".html")).map((name) => name.slice(0, -5));
  if (names.length === 0) throw new Error(`no page in ${folder}`);
  const expected = (name) => JSON.parse(readFileSync(join(folder, `${name}.json`), "utf8"));
  const place = (name) => resolve(folder, `${name}.html`);
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: [...FLAGS, ...MORE_FLAGS] });
  try {
    await rejectBad(browser, place(sample), expected(sample));
    let failed = 0;
    let total = 0;
    for (const name of names.sort()) {
      const problems = await look(browser, place(name), expected(name));
      total += Object.values(expected(name)).reduce((a, b) => a + b, 0);
      failed += problems.length > 0;
      for (const problem of problems) console.error(`chromium: ${place(name)}: ${problem}`);
    }
    console.log(`chromium: ${names.length} pages with ${total} parts, ${failed} failed; ${BAD.length} bad ones were rejected`);
    return failed === 0 ? 0 : 1;
  } finally {
    await browser.close();
  }
}

process.exitCode = await main(process.argv.slice(2)).catch((error) => {
  console.error(`pages: ${error.message}`);
  return 1;
});
