import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';
import { packageRoot } from './program.js';

/** The source bundled to one file, which `node` runs as it stands. */
export interface BundledModule {
  readonly path: string;
  remove(): Promise<void>;
}

/** Opens the store that the URL and the prefix, a space between them, name. Its client ends with the process. */
const STORE = `
  import { createRequire } from 'node:module';
  import { redisStorage } from './src/storage/redis.js';
  const { Redis } = createRequire(${JSON.stringify(join(packageRoot, 'package.json'))})('ioredis');
  export default (place) => {
    const [url, prefix] = place.split(' ');
    return redisStorage(new Redis(url).on('error', () => {}), { prefix });
  };
`;

/** Bundles the store of these sources: processes of their own cannot import TypeScript. */
export async function bundledRedisStore(): Promise<BundledModule> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-bundle-'));
  const path = join(folder, 'store.mjs');
  await build({
    stdin: { contents: STORE, resolveDir: packageRoot, loader: 'js' },
    outfile: path,
    bundle: true,
    platform: 'node',
    format: 'esm',
    logLevel: 'error',
  });
  return { path, remove: () => rm(folder, { recursive: true, force: true }) };
}
