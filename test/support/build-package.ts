import { spawnSync } from 'node:child_process';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';

declare module 'vitest' {
  interface ProvidedContext {
    /** What the build said when it failed; empty when `dist` is as new as `src`. */
    buildFailure: string;
  }
}

const root = join(import.meta.dirname, '../..');

/** When the newest of these files and folders changed; a folder changes when a file in it appears or goes. */
function newestMs(paths: readonly string[]): number {
  const all = paths.flatMap((path) => {
    const found = statSync(path);
    const inside = found.isDirectory() ? readdirSync(path).map((name) => join(path, name)) : [];
    return [found.mtimeMs, ...(inside.length > 0 ? [newestMs(inside)] : [])];
  });
  return Math.max(...all);
}

/** Declarations are written last: if they are there and newer than all they are made of, so is the rest. */
function isBuilt(): boolean {
  const declarations = statSync(join(root, 'dist/index.d.ts'), { throwIfNoEntry: false });
  const sources = ['src', 'package.json', 'tsconfig.json', 'tsup.config.ts'].map((name) => join(root, name));
  return declarations !== undefined && declarations.mtimeMs > newestMs(sources);
}

/**
 * Builds `dist` when it is missing or older than `src`, because examples, documentation blocks and crash tests run the
 * package as its users do. A failure is handed on: tests that need no build still run while `src` is in pieces.
 */
export default function buildPackage(project: TestProject): void {
  const build = isBuilt() ? undefined : spawnSync('npm', ['run', 'build'], { cwd: root, encoding: 'utf8' });
  project.provide(
    'buildFailure',
    build && build.status !== 0 ? `npm run build failed.\n${build.stdout}${build.stderr}` : '',
  );
}
