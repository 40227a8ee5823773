import { spawnSync } from 'node:child_process';
import type { FaultRow } from './row.js';
import { inScene, SEED } from './scene.js';

/** A mount namespace of its own: needs no root where users may have namespaces, and the mount goes with the process. */
const IN_NAMESPACE = ['unshare', '--mount', '--map-root-user'];
const MOUNT = 'mount -t tmpfs -o size=1m holdfast-faults "$0"';

interface Disk {
  readonly fillerBytes: number;
  /** What pruning leaves after every save; 'all': no pruning. */
  readonly keepLast: number | 'all';
  readonly compactAtBytes: number;
}

const GROWING: Disk = { fillerBytes: 300_000, keepLast: 'all', compactAtBytes: 64 * 1024 };
/** So much is live that the copy which compaction makes does not fit beside the log. */
const COMPACTING: Disk = { fillerBytes: 420_000, keepLast: 20, compactAtBytes: 64 * 1024 };

async function fill({ fillerBytes, keepLast, compactAtBytes }: Disk, seed: number) {
  return inScene(async ({ folder, startWith }) => {
    const command = [...IN_NAMESPACE, 'sh', '-c', `${MOUNT} && exec "$@"`, folder, process.execPath];
    const child = startWith(command, 'fill-disk.mjs', folder, seed, fillerBytes, keepLast, compactAtBytes);
    const { code, errorText } = await child.ended;
    const bad = child.lines.filter((line) => line.startsWith('bad')).map((line) => `${line} (seed ${seed})`);
    const [, , failedCompactions] = child.lines.find((line) => line.startsWith('filled'))?.split(' ') ?? [];
    if (code !== 0 || failedCompactions === undefined)
      bad.push(`the child ended with ${code}: ${errorText} (seed ${seed})`);
    return { bad, failedCompactions: Number(failedCompactions) };
  });
}

export const fullDisk: FaultRow = {
  fault: 'disk full (tmpfs of 1 MB), then space again; also in the middle of compaction',
  async run(lane) {
    const probe = spawnSync('unshare', [...IN_NAMESPACE.slice(1), 'sh', '-c', MOUNT, '/tmp']);
    if (probe.status !== 0) return { tried: 0, bad: [], note: 'no tmpfs may be mounted here: injected only' };
    const tried = lane === 'quick' ? 4 : 40;
    const bad: string[] = [];
    let failedCompactions = 0;
    for (let at = 0; at < tried; at++) {
      const result = await fill(at % 2 === 0 ? GROWING : COMPACTING, SEED + at);
      bad.push(...result.bad);
      failedCompactions += result.failedCompactions;
    }
    if (failedCompactions === 0) bad.push('the disk was never full during compaction: this proves too little');
    return { tried, bad, note: `${failedCompactions} compactions found no room` };
  },
};
