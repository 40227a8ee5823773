import { join } from 'node:path';
import { bundle } from '../support/bundle.js';

/** Makes a script of a program in `programs/`, and gives its path in `folder`. */
export function bundleProgram(program: string, folder: string): Promise<string> {
  return bundle(join(import.meta.dirname, 'programs', `${program}.ts`), folder);
}
