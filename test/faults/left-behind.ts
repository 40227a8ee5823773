import type { FaultRow } from './row.js';
import { type Child, inScene } from './scene.js';

/** Heap that 1,000 saves may leave behind, in bytes. What each save allocates is some 20 kB. */
const HEAP_GROWTH_BYTES = 3_000_000;
const STRICT = [process.execPath, '--unhandled-rejections=strict', '--expose-gc'];

interface Use {
  readonly act: string;
  /** What a child that ended by itself, without an error, has left behind. */
  readonly judge: (lines: readonly string[]) => readonly string[];
}

const USES: readonly Use[] = [
  { act: 'save', judge: () => [] },
  { act: 'leave-open', judge: () => [] },
  {
    act: 'cycles',
    judge: ([, before = '', after = '']) => {
      const isSame = before !== '' && before.replace('before', 'after') === after;
      return isSame ? [] : [`50 open/close cycles: ${before}; ${after}`];
    },
  },
  {
    act: 'long-run',
    judge: ([counts = '', left = '']) => {
      const [open = 99, compactions = 0, grewBytes = 0] = counts.match(/-?\d+/g)?.map(Number) ?? [];
      const bad = left === 'left 0' ? [] : [`after close: ${left}`];
      if (open > 4) bad.push(`${open} files of the store were open at once`);
      if (compactions < 5) bad.push(`only ${compactions} compactions: this proves too little`);
      if (grewBytes > HEAP_GROWTH_BYTES) bad.push(`the heap grew by ${grewBytes} bytes`);
      return bad;
    },
  },
];

async function endsByItself(child: Child): Promise<string[]> {
  const { code, signal, errorText, isStuck } = await child.ended;
  if (isStuck) return ['something keeps the process alive'];
  return code === 0 && errorText === '' ? [] : [`ended with ${code ?? signal}: ${errorText}`];
}

export const leftBehind: FaultRow = {
  fault: 'handles, files, rejections and memory left behind by a store that was used and closed',
  async run() {
    const bad: string[] = [];
    let note = '';
    for (const { act, judge } of USES) {
      const found = await inScene(async ({ folder, startWith }) => {
        const child = startWith(STRICT, 'leaks.mjs', folder, act);
        const ending = await endsByItself(child);
        note = child.lines[0] ?? '';
        return ending.length > 0 ? ending : judge(child.lines);
      });
      bad.push(...found.map((problem) => `${act}: ${problem}`));
    }
    return { tried: USES.length, bad, note };
  },
};
