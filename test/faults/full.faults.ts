import { playInFull } from './full-lane.js';
import { modelRows } from './model-rows.js';
import { processRows } from './process-rows.js';

playInFull([...modelRows, ...processRows]);
