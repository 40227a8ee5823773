import { basename, join } from 'node:path';
import { build } from 'esbuild';

/** Makes a script of a TypeScript file, with the sources it is written against, and gives its path in `folder`. */
export async function bundle(file: string, folder: string): Promise<string> {
  const outfile = join(folder, `${basename(file, '.ts')}.mjs`);
  await build({
    entryPoints: [file],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    // Some of what is bundled is CommonJS.
    banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
    logLevel: 'error',
  });
  return outfile;
}
