import { posix } from 'node:path';
import ts from 'typescript';

/** Texts by path from the package root, as in `src/base/clock.ts`. The rules read nothing else. */
export type Sources = ReadonlyMap<string, string>;

/** What breaks a rule and where: `src/base/ids.ts:7 ...`. Empty means that the rule holds. */
export type Violations = readonly string[];

/** The rooms of src/ from the ground up. Rooms on one floor are strangers. `root` is src/index.ts and what src/holdfast.ts is made of. */
export const floors: readonly (readonly string[])[] = [
  ['base'],
  ['storage', 'policies', 'health'],
  ['records'],
  ['checkpoints', 'transactions', 'sessions'],
  ['recovery', 'coordination'],
  ['telemetry'],
  ['root'],
  ['cli', 'dashboard'],
];

/** The highest floor that `testing`, which stands beside the house, may look into. */
const highestFloorSeenByTesting = 4;

const maxFileLines = 300;
const maxFunctionLines = 50;
const vagueNames = ['utils', 'util', 'types', 'helpers', 'helper', 'constants', 'common', 'misc'];

interface Import {
  readonly specifier: string;
  readonly line: number;
  /** Path of the imported file when it is one of ours. */
  readonly target: string | undefined;
}

/** The room of a file: its folder below src/, or for an entry such as src/testing.ts the room it opens. */
function roomOf(path: string): string {
  const name = path.replace(/^src\//, '').split('/')[0] ?? '';
  return /^(index|holdfast(-options)?)\.ts$/.test(name) ? 'root' : name.replace(/\.ts$/, '');
}

const floorOf = (room: string): number => floors.findIndex((rooms) => rooms.includes(room));

function parse(path: string, text: string): ts.SourceFile {
  return ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
}

const lineOf = (file: ts.SourceFile, position: number): number => file.getLineAndCharacterOfPosition(position).line + 1;

/** Calls `visit` with every node of every file and gathers what it finds wrong, with path and line in front. */
function visitNodes(sources: Sources, visit: (node: ts.Node, path: string) => string | undefined): string[] {
  const found: string[] = [];
  for (const [path, text] of sources) {
    const file = parse(path, text);
    const walk = (node: ts.Node): void => {
      const wrong = visit(node, path);
      if (wrong !== undefined) found.push(`${path}:${lineOf(file, node.getStart(file))} ${wrong}`);
      ts.forEachChild(node, walk);
    };
    walk(file);
  }
  return found;
}

/** What a node imports, in any of the ways there are: import, export from, import(), import type('...'), require(). */
function specifierOf(node: ts.Node): string | undefined {
  let literal: ts.Node | undefined;
  if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) literal = node.moduleSpecifier;
  else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) literal = node.argument.literal;
  else if (ts.isExternalModuleReference(node)) literal = node.expression;
  else if (ts.isCallExpression(node)) {
    const called = node.expression;
    const isImport = called.kind === ts.SyntaxKind.ImportKeyword || called.getText() === 'require';
    literal = isImport ? node.arguments[0] : undefined;
  }
  return literal && ts.isStringLiteralLike(literal) ? literal.text : undefined;
}

function importsOf(path: string, text: string): Import[] {
  const imports: Import[] = [];
  const file = parse(path, text);
  const walk = (node: ts.Node): void => {
    const specifier = specifierOf(node);
    if (specifier !== undefined) {
      const target = specifier.startsWith('.')
        ? posix.join(posix.dirname(path), specifier).replace(/\.js$/, '.ts')
        : undefined;
      imports.push({ specifier, line: lineOf(file, node.getStart(file)), target });
    }
    ts.forEachChild(node, walk);
  };
  walk(file);
  return imports;
}

function forbiddenImport(from: string, target: string): string | undefined {
  if (!target.startsWith('src/')) return 'leaves src/';
  const to = roomOf(target);
  if (from === to) return undefined;
  if (to === 'testing') return 'nothing outside testing sees testing';
  if (floorOf(to) < 0) return undefined; // Reported once, for the room itself.
  if (from === 'testing') {
    return floorOf(to) > highestFloorSeenByTesting
      ? `testing sees floors 0 to ${highestFloorSeenByTesting}`
      : undefined;
  }
  if (floorOf(from) === floorOf(to)) return `${from} and ${to} are strangers`;
  return floorOf(from) < floorOf(to) ? `${from} is below ${to}` : undefined;
}

/** A room imports itself and lower floors only; type imports and re-exports count. */
export function upwardImports(sources: Sources): Violations {
  return [...sources].flatMap(([path, text]) =>
    importsOf(path, text).flatMap(({ specifier, line, target }) => {
      const reason = target === undefined ? undefined : forbiddenImport(roomOf(path), target);
      return reason === undefined ? [] : [`${path}:${line} imports ${specifier}: ${reason}`];
    }),
  );
}

/** Every file stands in a room that has a floor. */
export function roomsWithoutFloor(sources: Sources): Violations {
  return [...sources.keys()]
    .filter((path) => roomOf(path) !== 'testing' && floorOf(roomOf(path)) < 0)
    .map((path) => `${path} stands in no known room`);
}

/** Files that import each other in a ring, one line for each ring that a depth-first walk closes. */
export function importRings(sources: Sources): Violations {
  const targets = new Map(
    [...sources].map(([path, text]) => [path, importsOf(path, text).flatMap(({ target }) => target ?? [])]),
  );
  const rings: string[] = [];
  const done = new Set<string>();
  const walk = (path: string, trail: readonly string[]): void => {
    const start = trail.indexOf(path);
    if (start >= 0) rings.push([...trail.slice(start), path].join(' -> '));
    if (start >= 0 || done.has(path)) return;
    for (const target of targets.get(path) ?? []) walk(target, [...trail, path]);
    done.add(path);
  };
  for (const path of sources.keys()) walk(path, []);
  return rings;
}

/** Files above the line limit. */
export function longFiles(sources: Sources): Violations {
  return [...sources].flatMap(([path, text]) => {
    const lines = text.replace(/\n$/, '').split('\n').length;
    return lines > maxFileLines ? [`${path} has ${lines} lines, ${maxFileLines} are allowed`] : [];
  });
}

/** Functions of any kind above the line limit, from the first line of the signature to the closing brace. */
export function longFunctions(sources: Sources): Violations {
  return visitNodes(sources, (node) => {
    if (!ts.isFunctionLike(node) || !('body' in node) || node.body === undefined) return undefined;
    const file = node.getSourceFile();
    const lines = lineOf(file, node.getEnd()) - lineOf(file, node.getStart(file)) + 1;
    return lines > maxFunctionLines ? `a function has ${lines} lines, ${maxFunctionLines} are allowed` : undefined;
  });
}

/** An index.ts inside a folder hides where things are; only src/index.ts is one. */
export function folderIndexes(sources: Sources): Violations {
  return [...sources.keys()].filter((path) => path.endsWith('/index.ts') && path !== 'src/index.ts');
}

/** Files and folders named after no idea. */
export function vagueFileNames(sources: Sources): Violations {
  return [...sources.keys()].filter((path) =>
    path.split('/').some((part) => vagueNames.includes(part.replace(/\.ts$/, ''))),
  );
}

const isMember = (node: ts.Node, object: string, member: string): boolean =>
  ts.isPropertyAccessExpression(node) && node.name.text === member && node.expression.getText() === object;

function readsTheClock(node: ts.Node): boolean {
  if (isMember(node, 'Date', 'now') || isMember(node, 'performance', 'now') || isMember(node, 'process', 'hrtime'))
    return true;
  if (ts.isNewExpression(node)) return node.expression.getText() === 'Date' && !node.arguments?.length;
  if (ts.isCallExpression(node)) return node.expression.getText() === 'Date';
  if (ts.isIdentifier(node)) return node.text === 'setTimeout' || node.text === 'setInterval';
  return /^(node:)?(timers(\/promises)?|perf_hooks)$/.test(specifierOf(node) ?? '');
}

/** The machine's time and timers outside base/clock.ts. `new Date(ms)` reads no clock and is fine. */
export function clocksOutsideClock(sources: Sources): Violations {
  return visitNodes(sources, (node, path) =>
    path !== 'src/base/clock.ts' && readsTheClock(node) ? `${node.getText()} belongs in base/clock.ts` : undefined,
  );
}

/** The file system outside storage/ and cli/. */
export function filesOutsideStorage(sources: Sources): Violations {
  return visitNodes(sources, (node, path) => {
    const specifier = specifierOf(node) ?? '';
    if (!/^(node:)?fs(\/promises)?$/.test(specifier) || ['storage', 'cli'].includes(roomOf(path))) return undefined;
    return `imports ${specifier}: only storage/ and cli/ touch files`;
  });
}

/** `export *` in any form: what is public is named one by one. */
export function starExports(sources: Sources): Violations {
  return visitNodes(sources, (node) =>
    ts.isExportDeclaration(node) && (!node.exportClause || ts.isNamespaceExport(node.exportClause))
      ? `${node.getText()}: name what is exported`
      : undefined,
  );
}

/** `Math.random` anywhere but as the default of an argument or option: `random = Math.random`, `?? Math.random`. */
export function chanceInLogic(sources: Sources): Violations {
  return visitNodes(sources, (node) => {
    if (!isMember(node, 'Math', 'random')) return undefined;
    const { parent } = node;
    const isDefault =
      ((ts.isParameter(parent) || ts.isBindingElement(parent)) && parent.initializer === node) ||
      (ts.isBinaryExpression(parent) && parent.operatorToken.kind === ts.SyntaxKind.QuestionQuestionToken);
    return isDefault ? undefined : 'Math.random is a default argument, never a call in logic';
  });
}
