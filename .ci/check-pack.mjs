// What npm would publish: every file that package.json points at, and nothing that does not belong there.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

const { exports: entries } = JSON.parse(readFileSync('package.json', 'utf8'));
const packed = JSON.parse(
  execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], { encoding: 'utf8' }),
);
const paths = packed[0].files.map(({ path }) => path);

const targets = (value) => (typeof value === 'string' ? [value.slice(2)] : Object.values(value).flatMap(targets));
const wanted = new Set([...targets(entries), 'README.md', 'CHANGELOG.md', 'LICENSE']);
const missing = [...wanted].filter((path) => !paths.includes(path));
const strange = paths.filter((path) => !wanted.has(path) && !/^dist\/[\w-]+\.(js|cjs|d\.ts|d\.cts)$/.test(path));

for (const path of missing) console.error(`not in the package: ${path}`);
for (const path of strange) console.error(`does not belong in the package: ${path}`);
if (missing.length + strange.length > 0) process.exit(1);
console.log(`${paths.length} files in the package, ${packed[0].unpackedSize} bytes`);
