// Renders every formula of every .tex file below the given folders: node check.mjs ENGINE FOLDER...
//
// ENGINE is katex, mathjax3, mathjax4 or pdflatex. A file holds one or more formulas, each below its own comment lines; the comments stay,
// because people paste them too. Formulas are displays. The exit status is 0 only if there are formulas and all of them render without
// error. Each engine must first reject formulas known to be bad, or the check itself is broken.

import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const BROKEN = [String.raw`\dv{f}{x}`, String.raw`\frac{x}{y`, String.raw`\left( x`, String.raw`\begin{aligned} x &= y \end{pmatrix}`, "x^a^b"];
const RAW_GREEK = "J_{θ}";
const BOLD = String.raw`\bm{x}`;

// An engine turns formulas into an error message, or null, for each. KaTeX knows \bm, and only pdflatex stops at raw Greek.
const ENGINES = {
  katex: { prepare: prepareKatex, bad: [...BROKEN, "é"] },
  mathjax3: { prepare: () => prepareMathjax("mathjax3"), bad: [...BROKEN, BOLD] },
  mathjax4: { prepare: () => prepareMathjax("mathjax4"), bad: [...BROKEN, BOLD] },
  pdflatex: { prepare: () => runPdflatex, bad: [...BROKEN, BOLD, RAW_GREEK] },
};

async function prepareKatex() {
  const { default: katex } = await import("katex");
  const render = (tex) => katex.renderToString(tex, { displayMode: true, throwOnError: true, strict: "error" });
  return each((tex) => void render(tex));
}

// The packages that pages load by themselves; without noerrors and noundefined, which would hide what we look for.
async function prepareMathjax(name) {
  const { default: MathJax } = await import(name);
  const packages = ["base", "ams", "amscd", "boldsymbol"];
  const rethrow = (_, error) => {
    throw error;
  };
  const settings = {
    loader: { load: ["input/tex-base", "[tex]/ams", "[tex]/amscd", "[tex]/boldsymbol", "output/svg"] },
    tex: { packages, formatError: rethrow },
    startup: { typeset: false },
  };
  const started = await MathJax.init(settings);
  return each(async (tex) => {
    const html = started.startup.adaptor.outerHTML(await started.tex2svgPromise(tex, { display: true }));
    if (/merror|data-mjx-error/.test(html)) throw new Error("the output holds an merror");
    if (!/<svg/.test(html)) throw new Error("there is no output");
  });
}

function each(render) {
  return async (formulas) => {
    const problems = [];
    for (const tex of formulas) {
      problems.push(
        await Promise.resolve(tex)
          .then(render)
          .then(
            () => null,
            (error) => error.message,
          ),
      );
    }
    return problems;
  };
}

// One document with all formulas. TeX stops at the first error; its line says which formula that is.
function runPdflatex(formulas) {
  const folder = mkdtempSync(join(tmpdir(), "pdflatex-"));
  try {
    const lines = [
      String.raw`\documentclass{article}`,
      String.raw`\usepackage{amsmath,amssymb,amscd}`,
      String.raw`\setlength{\paperwidth}{400cm}\setlength{\paperheight}{400cm}\setlength{\textwidth}{380cm}\setlength{\textheight}{360cm}`,
      String.raw`\begin{document}`,
    ];
    const ends = [];
    for (const tex of formulas) {
      lines.push(String.raw`\[`, ...tex.split("\n"), String.raw`\]`);
      ends.push(lines.length);
    }
    lines.push(String.raw`\end{document}`, "");
    writeFileSync(join(folder, "formulas.tex"), lines.join("\n"));
    const options = ["-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "-file-line-error", "formulas.tex"];
    const run = spawnSync("pdflatex", options, { cwd: folder, encoding: "utf8", maxBuffer: 1 << 28, input: "" });
    if (run.error) throw run.error;
    const problems = formulas.map(() => null);
    if (run.status !== 0 || !existsSync(join(folder, "formulas.pdf"))) {
      const [message, line] = /^\S*formulas\.tex:(\d+): .*$/m.exec(run.stdout) ?? [run.stdout.slice(-2000), "0"];
      const culprit = ends.findIndex((end) => Number(line) <= end);
      problems[Math.max(culprit, 0)] = `${message} (later formulas were not tried)`;
    }
    return problems;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

// A comment line below a formula starts the next one.
function split(text) {
  const formulas = [];
  let current = [];
  let complete = false;
  for (const line of text.trimEnd().split("\n")) {
    const comment = line.startsWith("%");
    if (comment && complete) {
      formulas.push(current);
      current = [];
      complete = false;
    }
    complete ||= !comment && line.trim() !== "";
    current.push(line);
  }
  if (complete) formulas.push(current);
  return formulas.map((lines) => lines.join("\n"));
}

function collect(folders) {
  const found = [];
  for (const folder of folders) {
    const paths = readdirSync(folder, { recursive: true }).filter((path) => path.endsWith(".tex"));
    for (const path of paths.sort()) {
      const formulas = split(readFileSync(join(folder, path), "utf8"));
      if (formulas.length === 0) throw new Error(`${join(folder, path)} holds no formula`);
      formulas.forEach((tex, k) => found.push({ tex, place: `${join(folder, path)}, formula ${k + 1}` }));
    }
  }
  if (found.length === 0) throw new Error(`no .tex file below ${folders.join(", ") || "no folder"}`);
  return found;
}

async function main([name, ...folders]) {
  const engine = ENGINES[name];
  if (!engine) throw new Error(`usage: node check.mjs ${Object.keys(ENGINES).join("|")} FOLDER...`);
  const found = collect(folders);
  const check = await engine.prepare();
  for (const tex of engine.bad) {
    if ((await check([tex]))[0] === null) throw new Error(`${name} accepts ${tex}: this check cannot fail`);
  }
  const problems = await check(found.map(({ tex }) => tex));
  const failures = found.map(({ tex, place }, k) => ({ tex, place, problem: problems[k] })).filter(({ problem }) => problem !== null);
  for (const { tex, place, problem } of failures) console.error(`${name}: ${place}: ${problem}\n${tex}\n`);
  console.log(`${name}: ${found.length} formulas, ${failures.length} failed; ${engine.bad.length} bad ones were rejected`);
  return failures.length === 0 ? 0 : 1;
}

process.exitCode = await main(process.argv.slice(2)).catch((error) => {
  console.error(`render: ${error.message}`);
  return 1;
});
