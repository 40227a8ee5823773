import { watch } from 'node:fs';
import { readdir } from 'node:fs/promises';
import type { Child } from './scene.js';

/** Segments under construction in `folder`; of one process if `pid` is given. */
export async function drafts(folder: string, pid?: number): Promise<string[]> {
  const prefix = pid === undefined ? 'draft-' : `draft-${pid}-`;
  return (await readdir(folder)).filter((name) => name.startsWith(prefix));
}

/** Resolves as soon as the process begins a draft in `folder`, or has ended. */
export async function beginsDraft(folder: string, child: Child): Promise<void> {
  const watching = new AbortController();
  const seen = new Promise<void>((resolve) => {
    watch(folder, { signal: watching.signal }, (_, name) => {
      if (name?.startsWith(`draft-${child.pid}-`)) resolve();
    });
  });
  await Promise.race([seen, child.ended]);
  watching.abort();
}
