// npm run bench [-- store]: prints each figure beside the gate it has to meet. Run it while nothing else runs.
const suites = { store: './store.mjs' };
const wanted = process.argv.slice(2);
const names = wanted.length > 0 ? wanted : Object.keys(suites);

let missed = 0;
for (const name of names) {
  if (!(name in suites)) {
    console.error(`No suite "${name}". There are: ${Object.keys(suites).join(', ')}.`);
    process.exit(2);
  }
  const { rows } = await import(suites[name]);
  console.log(`\n${name} (Node ${process.version}, medians of interleaved rounds)`);
  const table = {};
  for (const { what, measured, gate, met } of await rows()) {
    table[what] = { measured, gate: gate ?? '', met: met === undefined ? '' : met ? 'yes' : 'NO' };
    if (met === false) missed++;
  }
  console.table(table);
}
console.log(missed === 0 ? 'every gate met' : `${missed} gates missed`);
process.exitCode = missed === 0 ? 0 : 1;
