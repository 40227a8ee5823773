/** So many packs of about one size are merged into one. More would be read at each restore, fewer would write more often. */
const MERGE_COUNT = 16;
/** Packs with fewer live bytes are all of the smallest size. */
const SMALLEST_BYTES = 4 * 1024;

/**
 * Which packs the one of `next` should take over, given the live bytes of each: those of the smallest size there are
 * sixteen of. A chunk is then written anew once for each size its pack grows through, and a state of any age is in some sixteen
 * packs per size. Source: size-tiered compaction, as in Bigtable and Cassandra.
 */
export function packsToMerge(liveBytesByPack: ReadonlyMap<number, number>, next: number): number[] {
  if (liveBytesByPack.size <= MERGE_COUNT) return [];
  const packsBySize: number[][] = [];
  for (const [pack, liveBytes] of liveBytesByPack) {
    if (pack === next) continue;
    const size = Math.max(0, Math.floor(Math.log(liveBytes / SMALLEST_BYTES) / Math.log(MERGE_COUNT)));
    packsBySize[size] = [...(packsBySize[size] ?? []), pack];
  }
  return packsBySize.find((packs) => packs !== undefined && packs.length >= MERGE_COUNT) ?? [];
}
