import { mkdtemp, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';
import { packageRoot } from './program.js';

/** A module that opens Postgres stores in a process of its own. */
export interface PostgresProcessModule {
  /** Its default export takes the JSON of `{ url, options }` and makes the store, with a pool of its own. */
  readonly path: string;
  remove(): Promise<void>;
}

/** The store as it is in `src`, bundled once with its driver, so that plain `node` runs it. */
export async function buildPostgresProcess(): Promise<PostgresProcessModule> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-pg-process-'));
  const path = join(folder, 'store.mjs');
  await build({
    stdin: {
      contents: `
        import { createRequire } from 'node:module';
        import { postgresStorage } from './src/storage/postgres.ts';
        const pg = createRequire(${JSON.stringify(createRequire(import.meta.url).resolve('pg'))})('pg');
        export default (argument) => {
          const { url, options } = JSON.parse(argument);
          const pool = new pg.Pool({ connectionString: url, max: 4 });
          pool.on('error', () => {});
          return postgresStorage(pool, options);
        };`,
      resolveDir: packageRoot,
    },
    outfile: path,
    bundle: true,
    platform: 'node',
    format: 'esm',
    external: ['node:*'],
    logLevel: 'silent',
  });
  return { path, remove: () => rm(folder, { recursive: true, force: true }) };
}
