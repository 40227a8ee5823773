import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';
import type { StoreModule } from '../../src/testing/contract/store-process.js';
import { packageRoot } from './program.js';

/** The source bundled to one file, which `node` runs as it stands. */
export interface BundledModule {
  readonly path: string;
  remove(): Promise<void>;
}

/** Opens the store of the path that it is given. */
const STORE = `
  import { createRequire } from 'node:module';
  import { sqliteStorage } from './src/storage/sqlite.js';
  const Database = createRequire(${JSON.stringify(join(packageRoot, 'package.json'))})('libsql');
  export { Database, sqliteStorage };
  export default (path) => sqliteStorage(new Database(path));
`;

/** Bundles the store of these sources: processes of their own cannot import TypeScript. */
export async function bundledSqliteStore(program = ''): Promise<BundledModule> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-bundle-'));
  const path = join(folder, 'store.mjs');
  await build({
    stdin: { contents: STORE + program, resolveDir: packageRoot, loader: 'js' },
    outfile: path,
    bundle: true,
    platform: 'node',
    format: 'esm',
    logLevel: 'error',
  });
  return { path, remove: () => rm(folder, { recursive: true, force: true }) };
}

export function storeModule(bundle: BundledModule, path: string): StoreModule {
  return { module: bundle.path, argument: path };
}
