// Runs the cases one after the other, shows what came of them, and reports it.
import { cases, takePlanted } from "./cases.mjs";

const CASE_MS = 20_000;

const plan = await (await fetch("/plan")).json();
const ask = (what) => fetch(`/ask/${what}`, { method: "POST" });
const told = {};
const results = {};

async function run(name, action) {
  const row = document.getElementById("results").insertRow();
  row.insertCell().textContent = name;
  const cell = row.insertCell();
  cell.textContent = "…";
  let timer;
  const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error("not done in time")), CASE_MS)));
  try {
    await Promise.race([action({ plan, ask, told }), late]);
    results[name] = null;
  } catch (error) {
    results[name] = `${error}`;
  }
  clearTimeout(timer);
  row.className = results[name] === null ? "ok" : "bad";
  cell.textContent = results[name] ?? "ok";
}

for (const [name, action] of Object.entries(cases)) await run(name, action);
await run("planted bugs are taken", takePlanted);
await fetch("/report", { method: "POST", body: JSON.stringify({ results, told, agent: navigator.userAgent }) });
