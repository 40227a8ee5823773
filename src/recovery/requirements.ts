import * as z from 'zod';
import { functionOption } from '../base/options.js';
import { inWords } from '../policies/in-words.js';
import { sha256OfFile } from '../storage/file-digest.js';

/** Whether something holds: `true`, or why not. Anything else counts as a no. */
export type RequirementAnswer = boolean | string;

/** What has to be so before work goes on after a failure. Declared by the host; nothing is found out by itself. */
export interface Requirements {
  /** Environment variables with the value they have to have, or a pattern for it. Values are never shown. */
  readonly environment?: Readonly<Record<string, string | RegExp>>;
  /** Versions of what `process.versions` names (`node`, `openssl`, …): the lowest that will do, like `20.19.0`. */
  readonly versions?: Readonly<Record<string, string>>;
  /** Files with the SHA-256 (hexadecimal) that they have to have. */
  readonly artifacts?: Readonly<Record<string, string>>;
  /** Anything else: services that have to answer, credentials that have to be valid. */
  readonly dependencies?: Readonly<Record<string, () => RequirementAnswer | Promise<RequirementAnswer>>>;
}

export const requirementsSchema = z.strictObject({
  environment: z.record(z.string(), z.union([z.string(), z.instanceof(RegExp)])).optional(),
  versions: z.record(z.string(), z.string()).optional(),
  artifacts: z.record(z.string(), z.string()).optional(),
  dependencies: z.record(z.string(), functionOption<() => RequirementAnswer | Promise<RequirementAnswer>>()).optional(),
});

/** Something that does not hold. */
export interface UnmetRequirement {
  readonly kind: 'environment' | 'version' | 'artifact' | 'dependency';
  /** Of the variable, the component, the file, the dependency. */
  readonly name: string;
  /** In a line for people. */
  readonly why: string;
}

/** What of `requirements` does not hold now. Looks at everything, changes nothing, and takes what cannot be told for unmet. */
export async function unmetRequirements({
  environment = {},
  versions = {},
  artifacts = {},
  dependencies = {},
}: Requirements): Promise<UnmetRequirement[]> {
  const unmet: UnmetRequirement[] = [];
  for (const [name, expected] of Object.entries(environment)) {
    const why = variableProblem(process.env[name], expected);
    if (why !== undefined) unmet.push({ kind: 'environment', name, why });
  }
  for (const [name, lowest] of Object.entries(versions)) {
    const own = process.versions[name];
    if (own === undefined) unmet.push({ kind: 'version', name, why: 'is not known to this process' });
    else if (isLower(own, lowest))
      unmet.push({ kind: 'version', name, why: `is ${own}, at least ${lowest} is needed` });
  }
  for (const [name, expected] of Object.entries(artifacts)) {
    const why = await artifactProblem(name, expected);
    if (why !== undefined) unmet.push({ kind: 'artifact', name, why });
  }
  for (const [name, check] of Object.entries(dependencies)) {
    const why = await dependencyProblem(check);
    if (why !== undefined) unmet.push({ kind: 'dependency', name, why });
  }
  return unmet;
}

function variableProblem(value: string | undefined, expected: string | RegExp): string | undefined {
  if (value === undefined) return 'is not set';
  const isAsExpected = typeof expected === 'string' ? value === expected : new RegExp(expected).test(value);
  return isAsExpected ? undefined : 'has another value than is needed';
}

/** By numbers, part by part; what is behind a hyphen or a plus is left aside. */
function isLower(version: string, lowest: string): boolean {
  const [own, needed] = [version, lowest].map((text) => (text.split(/[-+]/)[0] as string).split('.').map(Number));
  for (let at = 0; at < (needed as number[]).length; at++) {
    const difference = ((own as number[])[at] ?? 0) - ((needed as number[])[at] as number);
    if (difference !== 0) return difference < 0;
  }
  return false;
}

async function artifactProblem(path: string, expected: string): Promise<string | undefined> {
  try {
    return (await sha256OfFile(path)) === expected.toLowerCase() ? undefined : 'is not the file that is needed';
  } catch (error) {
    return `cannot be read: ${inWords(error)}`;
  }
}

async function dependencyProblem(
  check: () => RequirementAnswer | Promise<RequirementAnswer>,
): Promise<string | undefined> {
  try {
    const answer = await check();
    if (answer === true) return undefined;
    return typeof answer === 'string' ? answer : 'is not there';
  } catch (error) {
    return inWords(error);
  }
}
