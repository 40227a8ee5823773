// @ts-check
/**
 * A small HTTP service that names the licence of a text, and is as unreliable as the real thing: some requests are
 * refused with 503, some are never answered. Which ones depends on the seed alone.
 *
 *   node classifier-service.mjs <seed>
 */
import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { seededRandom } from './random.mjs';

const BUSY_RATIO = 0.08;
const SILENT_RATIO = 0.02;
const MAX_THINKING_MS = 20;

/** Every BSD text; the clause that only the longer one has decides between the two. */
const BSD = 'redistribution and use in source and binary forms';
const BSD_THIRD_CLAUSE = /neither the names? of|may not be used to endorse/;

/** @type {[licence: string, phrase: RegExp | string][]} */
const PHRASES = [
  ['MIT', 'permission is hereby granted, free of charge, to any person obtaining a copy'],
  ['ISC', /permission to use, copy, modify,? and(\/or)? distribute this software for any purpose .{0,60}, provided/],
  ['0BSD', /permission to use, copy, modify,? and(\/or)? distribute this software for any purpose [^,]{0,60}granted\./],
  ['Apache-2.0', /apache license,? version 2\.0/],
  ['BSD', BSD],
  ['MPL-2.0', /mozilla public license,? (version|v\.) 2\.0/],
  ['BlueOak-1.0.0', 'blue oak model license'],
  ['CC0-1.0', 'cc0 1.0 universal'],
  ['Unlicense', 'free and unencumbered software released into the public domain'],
  ['Python-2.0', 'python software foundation license version 2'],
];

const random = seededRandom(Number(process.argv[2]));

const server = createServer(async (request, response) => {
  const chance = random();
  const thinkingMs = random() * MAX_THINKING_MS;
  const text = Buffer.concat(await request.toArray()).toString('utf8');
  if (chance < SILENT_RATIO) return; // Never answered: the client has to give up.
  if (chance < SILENT_RATIO + BUSY_RATIO) return void response.writeHead(503).end();
  await sleep(thinkingMs);
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(classify(text)));
});

process.once('disconnect', () => process.exit()); // The parent is gone.
server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  if (address !== null && typeof address === 'object') process.send?.({ url: `http://127.0.0.1:${address.port}/` });
});

/**
 * The licence whose words come first, and the others that follow: a bundle carries those of its parts behind its own.
 * @param {string} text
 */
function classify(text) {
  const words = text.toLowerCase().replace(/[\s#>*]+/g, ' ');
  const found = PHRASES.map(([licence, phrase]) => ({ licence, at: words.search(phrase) }))
    .filter(({ at }) => at >= 0)
    .sort((a, b) => a.at - b.at)
    .map(({ licence }) => (licence === 'BSD' ? bsd(words) : licence));
  return { licence: found[0] ?? 'unknown', also: found.slice(1) };
}

/** @param {string} words */
function bsd(words) {
  return BSD_THIRD_CLAUSE.test(words) ? 'BSD-3-Clause' : 'BSD-2-Clause';
}
