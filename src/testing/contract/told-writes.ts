/** What the writer was told: the call resolved; it rejected saying that nothing was done; nobody knows. */
export type Told = 'done' | 'not done' | 'unknown';

/** Each write by its own name. */
export type ToldWrites = ReadonlyMap<string, Told>;

/** How often a write may be there, by what its writer was told. */
const TIMES: Readonly<Record<Told, readonly number[]>> = { done: [1], 'not done': [0], unknown: [0, 1] };

/** What is wrong with the list of the writes that happened, each by its name. */
export function wrongWrites(happened: readonly string[], told: ToldWrites): readonly string[] {
  const times = new Map<string, number>();
  for (const write of happened) times.set(write, (times.get(write) ?? 0) + 1);
  const untrue = [...told].flatMap(([write, told]) => {
    const found = times.get(write) ?? 0;
    return TIMES[told].includes(found) ? [] : [`${write} is there ${found} times; its writer was told: ${told}`];
  });
  const invented = [...times.keys()].filter((write) => !told.has(write));
  return [...untrue, ...invented.map((write) => `${write} is there and was never written`)];
}
