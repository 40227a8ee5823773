// @ts-check
import { readdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

const root = new URL('../../', import.meta.url);

/** `zod`, `@types/node` and `postcss/node_modules/nanoid`, but no package.json deeper inside a package. */
const MANIFEST = /^(?:(?:@[^/]+\/)?[^/]+\/node_modules\/)*(?:@[^/]+\/)?[^@./][^/]*\/package\.json$/;
const LICENCE_FILE = /^(licen[cs]e|copying|unlicense)/i;

/**
 * Folders of the installed packages, scoped and nested ones too, always in the same order.
 * @param {number} limit Packages at most.
 */
export async function listPackages(limit) {
  const paths = await readdir(fileURLToPath(new URL('node_modules', root)), { recursive: true });
  const manifests = paths.map((path) => path.replaceAll('\\', '/')).filter((path) => MANIFEST.test(path));
  const folders = manifests.map((path) => `node_modules/${path.slice(0, -'/package.json'.length)}`);
  return folders.sort().slice(0, limit);
}

/**
 * What a package says of its licence: in its manifest, and in its licence files (empty if it has none).
 * @param {string} folder As `listPackages` names it.
 */
export async function readPackage(folder) {
  const directory = new URL(`${folder}/`, root);
  const { name, version, license } = JSON.parse(await readFile(new URL('package.json', directory), 'utf8'));
  const entries = await readdir(directory, { withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile() && LICENCE_FILE.test(entry.name)).map((entry) => entry.name);
  const texts = await Promise.all(files.sort().map((file) => readFile(new URL(file, directory), 'utf8')));
  // Old manifests have an object here.
  return {
    id: `${name}@${version}`,
    declared: String(license?.type ?? license ?? 'nothing'),
    licenceText: texts.join('\n'),
  };
}
