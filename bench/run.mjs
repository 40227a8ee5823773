// npm run bench [-- store calls]: prints each figure beside the gate it has to meet. Run it while nothing else runs.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';

const suites = {
  store: { file: './store.mjs' },
  stores: { file: './stores.mjs', hasRivals: true },
  calls: { file: './calls.mjs', hasRivals: true },
  checkpoints: { file: './checkpoints.mjs', hasRivals: true },
  transactions: { file: './transactions.mjs', hasRivals: true },
};
const wanted = process.argv.slice(2);
const names = wanted.length > 0 ? wanted : Object.keys(suites);

const unknown = names.find((name) => !Object.hasOwn(suites, name));
if (unknown !== undefined) {
  console.error(`No suite "${unknown}". There are: ${Object.keys(suites).join(', ')}.`);
  process.exit(2);
}

/** Rivals are dependencies of this folder alone, so that nobody who works on holdfast has to install them. */
function installRivals() {
  const here = import.meta.dirname;
  const read = (file) => JSON.parse(readFileSync(`${here}/${file}`, 'utf8'));
  const isThere = ([name, version]) => {
    const file = `node_modules/${name}/package.json`;
    return existsSync(`${here}/${file}`) && read(file).version === version;
  };
  if (Object.entries(read('package.json').dependencies).every(isThere)) return;
  execFileSync('npm', ['ci', '--prefix', here], { stdio: 'inherit' });
}

let missed = 0;
for (const name of names) {
  const { file, hasRivals } = suites[name];
  if (hasRivals) installRivals();
  const { rows } = await import(file);
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
