import { describe, expect, test } from 'vitest';
import { parseOptions } from '../../src/base/options.js';
import {
  decideRetention,
  type Retention,
  type RetentionCandidate,
  type RetentionDecision,
  type RetentionReason,
  retentionSchema,
} from '../../src/checkpoints/retention.js';
import { type SeededRandom, seededRandom } from '../../src/testing/seeded-random.js';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** A Wednesday, at noon. */
const NOW_MS = Date.UTC(2026, 6, 15, 12);

/** Newest first, one for each: sequences count down to 1. */
const saved = (...each: Partial<RetentionCandidate>[]): RetentionCandidate[] =>
  each.map((one, index) => ({ sequence: each.length - index, savedAtMs: NOW_MS, storedBytes: 100, ...one }));

const savedAt = (...times: string[]): RetentionCandidate[] =>
  saved(...times.map((time) => ({ savedAtMs: Date.parse(`${time}Z`) })));

const decide = (
  candidates: readonly RetentionCandidate[],
  retention: Retention,
  newestIntact = candidates[0]?.sequence,
) => decideRetention(candidates, newestIntact, { retention, nowMs: NOW_MS });

const kept = (decisions: readonly RetentionDecision[]): number[] =>
  decisions.filter(({ keep }) => keep).map(({ sequence }) => sequence);

/** Sequences with this reason. */
const because = (reason: RetentionReason, decisions: readonly RetentionDecision[]): number[] =>
  decisions.filter(({ reasons }) => reasons.includes(reason)).map(({ sequence }) => sequence);

const empty = (count: number): RetentionCandidate[] => saved(...Array.from({ length: count }, () => ({})));

describe('rules that keep', () => {
  test('without rules the newest twenty stay', () => {
    const decisions = decide(empty(22), {});
    expect(kept(decisions)).toEqual(Array.from({ length: 20 }, (_, index) => 22 - index));
    expect(decisions.slice(19)).toEqual([
      { sequence: 3, keep: true, reasons: ['last'] },
      { sequence: 2, keep: false, reasons: ['none'] },
      { sequence: 1, keep: false, reasons: ['none'] },
    ]);
  });

  test('the newest twenty stay beside another rule, unless it is said that none do', () => {
    expect(kept(decide(empty(22), { keepDaily: 1 }))).toHaveLength(20);
    expect(kept(decide(empty(22), { keepDaily: 1, keepLast: 0 }))).toEqual([22]);
  });

  test('keepLast of 0 without other rules keeps only the newest intact one and pinned ones', () => {
    const decisions = decide(saved({}, {}, { label: 'before release' }, {}), { keepLast: 0 }, 3);
    expect(decisions).toEqual([
      { sequence: 4, keep: false, reasons: ['none'] },
      { sequence: 3, keep: true, reasons: ['newest-intact'] },
      { sequence: 2, keep: true, reasons: ['label'] },
      { sequence: 1, keep: false, reasons: ['none'] },
    ]);
  });

  test('nothing saved is nothing decided', () => {
    expect(decide([], {})).toEqual([]);
  });

  test('where none is intact the rules decide alone', () => {
    const decisions = decideRetention(empty(3), undefined, { retention: { keepLast: 1 }, nowMs: NOW_MS });
    expect(decisions[0]).toEqual({ sequence: 3, keep: true, reasons: ['last'] });
    expect(kept(decisions)).toEqual([3]);
  });

  test('keepWithinMs keeps what was saved at most that long ago, to the millisecond, and in the future', () => {
    const candidates = saved(
      { savedAtMs: NOW_MS + DAY_MS },
      { savedAtMs: NOW_MS - 1_000 },
      { savedAtMs: NOW_MS - 1_001 },
    );
    expect(because('within', decide(candidates, { keepWithinMs: 1_000 }))).toEqual([3, 2]);
    expect(because('within', decide(candidates, {}))).toEqual([]);
  });

  test('keepHourly keeps the newest of each of the last hours that have one, however long ago', () => {
    const candidates = savedAt(
      '2026-07-15T11:59:59.999',
      '2026-07-15T11:00:00.000',
      '2026-07-15T10:59:59.999',
      '2026-07-15T10:00:00.000',
      '2026-07-01T09:30:00.000',
      '2026-07-01T08:30:00.000',
    );
    expect(because('hourly', decide(candidates, { keepHourly: 3 }))).toEqual([6, 4, 2]);
  });

  test('keepDaily goes by days of UTC', () => {
    const candidates = savedAt(
      '2026-07-15T00:00:00',
      '2026-07-14T23:59:59',
      '2026-07-14T00:00:00',
      '2026-02-28T12:00:00',
    );
    expect(because('daily', decide(candidates, { keepDaily: 7 }))).toEqual([4, 3, 1]);
  });

  test('keepWeekly goes by weeks from Monday to Sunday, across the turn of a year and before 1970', () => {
    const candidates = savedAt(
      '2026-01-05T00:00:00', // a Monday
      '2026-01-04T23:59:59', // a Sunday
      '2025-12-29T00:00:00', // the Monday before it
      '2025-12-28T23:59:59',
      '1969-12-29T00:00:00', // the Monday of the week in which 1970 began
      '1969-12-28T23:59:59',
    );
    expect(because('weekly', decide(candidates, { keepWeekly: 99 }))).toEqual([6, 5, 3, 2, 1]);
  });

  test('several rules may keep the same one, and all are named', () => {
    const [only] = decide(saved({ label: 'done' }), { keepWithinMs: 1, keepHourly: 1, keepDaily: 1, keepWeekly: 1 });
    expect(only?.reasons).toEqual(['newest-intact', 'last', 'within', 'hourly', 'daily', 'weekly', 'label']);
  });

  test('a clock that ran backwards does not change which is newest: order goes by sequence', () => {
    const candidates = saved(
      { savedAtMs: NOW_MS - 30 * DAY_MS },
      { savedAtMs: NOW_MS + 30 * DAY_MS },
      { savedAtMs: NOW_MS - 30 * DAY_MS },
    );
    expect(kept(decide(candidates, { keepLast: 1 }))).toEqual([3]);
    expect(because('daily', decide(candidates, { keepDaily: 2 }))).toEqual([3, 2]);
  });
});

describe('labels', () => {
  const candidates = saved({}, { label: 'a' }, { label: 'b' });

  test.each([
    ['every label pins by default', {}, [3, 2, 1]],
    ['every label pins when it is said so', { keepLabels: true }, [3, 2, 1]],
    ['no label pins when it is said so', { keepLabels: false }, [3]],
    ['only the labels named pin', { keepLabels: ['b'] }, [3, 1]],
  ] satisfies [string, Retention, number[]][])('%s', (_what, rules, expected) => {
    expect(kept(decide(candidates, { keepLast: 0, ...rules }))).toEqual(expected);
  });
});

describe('recoveries', () => {
  const recovery = { operation: 'recovery.rollback' };

  test('what the last three saved stays, and what was there before each, whatever limits say', () => {
    const candidates = saved({}, recovery, { label: 'a' }, {}, recovery, recovery, {}, recovery, {});
    const decisions = decide(candidates, { keepLast: 0, keepLabels: false, maxAgeMs: 0, maxBytes: 0 });
    expect(kept(decisions)).toEqual([9, 8, 7, 5, 4, 3]);
    expect(because('recovery', decisions)).toEqual([8, 7, 5, 4, 3]);
  });

  test('no other operation pins, nor the first checkpoint of all what is not there', () => {
    const candidates = saved({}, { operation: 'recover' }, { operation: 'undo recovery.' }, recovery);
    expect(because('recovery', decide(candidates, { keepLast: 0 }))).toEqual([1]);
  });
});

describe('limits', () => {
  test('maxAgeMs takes what is older, whatever rule keeps it, and nothing that is pinned', () => {
    const oldMs = NOW_MS - DAY_MS - 1;
    const candidates = saved(
      { savedAtMs: oldMs },
      { savedAtMs: NOW_MS - DAY_MS },
      { savedAtMs: oldMs },
      { savedAtMs: oldMs, label: 'a' },
    );
    expect(decide(candidates, { maxAgeMs: DAY_MS, keepDaily: 9 })).toEqual([
      { sequence: 4, keep: true, reasons: ['newest-intact', 'last', 'daily'] },
      { sequence: 3, keep: true, reasons: ['last'] },
      { sequence: 2, keep: false, reasons: ['max-age'] },
      { sequence: 1, keep: true, reasons: ['last', 'label'] },
    ]);
  });

  test('maxBytes takes the oldest that are not pinned, until the rest fits exactly', () => {
    const candidates = saved({}, {}, { storedBytes: 50 }, {}, { label: 'a' });
    const decisions = decide(candidates, { maxBytes: 300 });
    expect(kept(decisions)).toEqual([5, 4, 1]);
    expect(because('max-bytes', decisions)).toEqual([3, 2]);
  });

  test('maxBytes takes nothing that fits', () => {
    expect(kept(decide(empty(3), { maxBytes: 300 }))).toEqual([3, 2, 1]);
  });

  test('maxBytes counts only what is kept', () => {
    expect(kept(decide(empty(9), { keepLast: 2, maxBytes: 200 }))).toEqual([9, 8]);
  });

  test('what is too old does not push out what is younger', () => {
    const candidates = saved({}, { savedAtMs: NOW_MS - HOUR_MS, storedBytes: 900 }, {});
    const decisions = decide(candidates, { maxAgeMs: 1, maxBytes: 200 });
    expect(kept(decisions)).toEqual([3, 1]);
    expect(because('max-age', decisions)).toEqual([2]);
  });

  test('the newest intact one stays although it is too large, too old and behind damaged ones', () => {
    const candidates = saved({}, {}, { storedBytes: 900, savedAtMs: 0 }, {});
    const decisions = decide(candidates, { maxBytes: 0, maxAgeMs: 0, keepLast: 1 }, 2);
    expect(kept(decisions)).toEqual([2]);
    expect(because('max-bytes', decisions)).toEqual([4]);
  });
});

describe('for any checkpoints and rules', () => {
  interface Scene {
    readonly candidates: readonly RetentionCandidate[];
    readonly newestIntact: number | undefined;
    readonly retention: Retention;
  }

  const maybe = <Value>(random: SeededRandom, value: () => Value): Value | undefined =>
    random.chance(0.5) ? value() : undefined;

  /** Without the properties that are undefined. */
  const given = (retention: { readonly [Name in keyof Retention]: Retention[Name] | undefined }): Retention =>
    Object.fromEntries(Object.entries(retention).filter(([, value]) => value !== undefined));

  function sceneOf(random: SeededRandom): Scene {
    let sequence = 200;
    const candidates = Array.from({ length: random.integer(40) }, () => {
      sequence -= 1 + random.integer(3);
      // Around now, in no order, some of it in the future.
      const savedAtMs = NOW_MS + DAY_MS - random.integer(40 * DAY_MS);
      const label = random.chance(0.2) ? random.pick(['a', 'b']) : undefined;
      const operation = random.chance(0.2) ? random.pick(['recovery.rollback', 'recovery.minimal', 'step']) : undefined;
      return { sequence, savedAtMs, storedBytes: random.integer(1_000), label, operation };
    });
    const newestIntact = candidates.length > 0 && random.chance(0.9) ? random.pick(candidates).sequence : undefined;
    const retention = given({
      keepLast: maybe(random, () => random.integer(10)),
      keepWithinMs: maybe(random, () => random.integer(20 * DAY_MS)),
      keepHourly: maybe(random, () => random.integer(10)),
      keepDaily: maybe(random, () => random.integer(10)),
      keepWeekly: maybe(random, () => random.integer(5)),
      keepLabels: maybe(random, () => random.pick<boolean | string[]>([true, false, ['a'], []])),
      maxBytes: maybe(random, () => random.integer(10_000)),
      maxAgeMs: maybe(random, () => random.integer(40 * DAY_MS)),
    });
    return { candidates, newestIntact, retention };
  }

  const scenes = Array.from({ length: 2_000 }, (_, seed) => sceneOf(seededRandom(seed)));
  const decideScene = ({ candidates, newestIntact, retention }: Scene) =>
    decideRetention(candidates, newestIntact, { retention, nowMs: NOW_MS });

  const isOfRecovery = ({ operation }: RetentionCandidate): boolean => operation?.split('.')[0] === 'recovery';

  /** Of the last three recoveries, what they saved and what they found. */
  function isAroundRecovery({ candidates }: Scene, one: RetentionCandidate): boolean {
    const last = candidates.filter(isOfRecovery).slice(0, 3);
    return last.some((recovery) => one === recovery || one === candidates[candidates.indexOf(recovery) + 1]);
  }

  const isPinned = (scene: Scene, one: RetentionCandidate): boolean =>
    one.sequence === scene.newestIntact || isAroundRecovery(scene, one) || isPinnedByLabel(scene, one);

  const isPinnedByLabel = ({ retention: { keepLabels = true } }: Scene, one: RetentionCandidate): boolean =>
    one.label !== undefined && (Array.isArray(keepLabels) ? keepLabels.includes(one.label) : keepLabels === true);

  /** The newest of each group, of the newest groups: said with calendars and sorting, where the code counts. */
  function newestOfGroups(candidates: readonly RetentionCandidate[], groups: number, nameOf: (at: Date) => string) {
    const ascending = candidates.toReversed();
    const newest = new Map(ascending.map(({ savedAtMs, sequence }) => [nameOf(new Date(savedAtMs)), sequence]));
    return [...newest.values()].sort((one, other) => other - one).slice(0, groups);
  }

  const hourName = (at: Date) => at.toISOString().slice(0, 13);
  const dayName = (at: Date) => at.toISOString().slice(0, 10);
  const mondayName = (at: Date) => {
    const monday = new Date(at);
    monday.setUTCDate(at.getUTCDate() - ((at.getUTCDay() + 6) % 7));
    return dayName(monday);
  };

  /** What stays, the slow and plain way. */
  function model(scene: Scene): number[] {
    const { candidates, retention } = scene;
    const { keepLast = 20, keepHourly = 0, keepDaily = 0, keepWeekly = 0 } = retention;
    const { keepWithinMs = -1e15, maxAgeMs = 1e15, maxBytes = 1e15 } = retention;
    const wanted = new Set([
      ...candidates.slice(0, keepLast).map(({ sequence }) => sequence),
      ...candidates.filter(({ savedAtMs }) => savedAtMs >= NOW_MS - keepWithinMs).map(({ sequence }) => sequence),
      ...newestOfGroups(candidates, keepHourly, hourName),
      ...newestOfGroups(candidates, keepDaily, dayName),
      ...newestOfGroups(candidates, keepWeekly, mondayName),
    ]);
    let staying = candidates.filter(
      (one) => isPinned(scene, one) || (wanted.has(one.sequence) && one.savedAtMs >= NOW_MS - maxAgeMs),
    );
    const bytes = () => staying.reduce((sum, { storedBytes }) => sum + storedBytes, 0);
    for (const one of candidates.toReversed()) {
      if (bytes() > maxBytes && !isPinned(scene, one)) staying = staying.filter((other) => other !== one);
    }
    return staying.map(({ sequence }) => sequence);
  }

  test('what stays is what a plain model keeps, with one decision for each, newest first', () => {
    expect(scenes.map(decideScene).map(kept)).toEqual(scenes.map(model));
    expect(scenes.map((scene) => decideScene(scene).map(({ sequence }) => sequence))).toEqual(
      scenes.map(({ candidates }) => candidates.map(({ sequence }) => sequence)),
    );
  });

  test('the newest intact one and every pinned one stay', () => {
    const lost = scenes.filter((scene) => {
      const staying = new Set(kept(decideScene(scene)));
      return scene.candidates.some((one) => isPinned(scene, one) && !staying.has(one.sequence));
    });
    expect(lost).toEqual([]);
  });

  test('one that stays has only reasons to stay, one that goes has exactly one to go', () => {
    const removals: readonly RetentionReason[] = ['none', 'max-bytes', 'max-age'];
    const odd = scenes
      .flatMap(decideScene)
      .filter(({ keep, reasons }) =>
        keep ? reasons.length === 0 || reasons.some((one) => removals.includes(one)) : reasons.length !== 1,
      );
    expect(odd).toEqual([]);
    expect(new Set(scenes.flatMap(decideScene).flatMap(({ reasons }) => reasons))).toHaveLength(11); // All of them.
  });

  test('deciding again over what stayed keeps all of it, whatever the limits', () => {
    const shrunk = scenes.map((scene) => {
      const staying = new Set(kept(decideScene(scene)));
      return { ...scene, candidates: scene.candidates.filter(({ sequence }) => staying.has(sequence)) };
    });
    expect(shrunk.map(decideScene).map(kept)).toEqual(
      shrunk.map(({ candidates }) => candidates.map(({ sequence }) => sequence)),
    );
  });

  test.each([
    { keepLast: 30 },
    { keepWithinMs: 30 * DAY_MS },
    { keepHourly: 30 },
    { keepDaily: 30 },
    { keepWeekly: 30 },
    { keepLabels: true },
  ] satisfies Retention[])('a wider rule, %o, removes nothing more where bytes do not count', (wider) => {
    const lost = scenes.filter(({ candidates, newestIntact, retention: { maxBytes: _, ...retention } }) => {
      const before = decideScene({ candidates, newestIntact, retention });
      const after = new Set(kept(decideScene({ candidates, newestIntact, retention: { ...retention, ...wider } })));
      return kept(before).some((sequence) => !after.has(sequence));
    });
    expect(lost).toEqual([]);
  });

  test('where bytes count, a further rule may cost an older one its place', () => {
    const candidates = saved({}, {}, { savedAtMs: NOW_MS - 30 * DAY_MS });
    const tight: Retention = { keepLast: 1, keepWeekly: 9, maxBytes: 200 };
    expect(kept(decide(candidates, tight))).toEqual([3, 1]);
    expect(kept(decide(candidates, { ...tight, keepLast: 2 }))).toEqual([3, 2]);
  });
});

describe('options', () => {
  test.each([
    [{ keepLast: -1 }, 'retention.keepLast'],
    [{ keepDaily: 1.5 }, 'retention.keepDaily'],
    [{ keepWithinMs: Number.NaN }, 'retention.keepWithinMs'],
    [{ keepLabels: [''] }, 'retention.keepLabels.0'],
    [{ maxBytes: '1' }, 'retention.maxBytes'],
    [{ keepMonthly: 1 }, 'retention.keepMonthly'],
  ])('%o is refused, naming %s', (retention, path) => {
    expect(() => parseOptions(retentionSchema, retention, 'retention')).toThrow(expect.objectContaining({ path }));
  });

  test('every rule may be left out or set', () => {
    const all: Required<Retention> = {
      keepLast: 0,
      keepWithinMs: 0.5,
      keepHourly: 1,
      keepDaily: 2,
      keepWeekly: 3,
      keepLabels: ['a'],
      maxBytes: 4,
      maxAgeMs: 5,
    };
    expect(parseOptions(retentionSchema, all)).toEqual(all);
    expect(parseOptions(retentionSchema, undefined)).toEqual({});
  });
});
