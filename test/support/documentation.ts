import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import ts from 'typescript';
import { codeBlocks } from './markdown.js';
import { createProgram, filesBelow, packageRoot, readPackageFile } from './program.js';

/** A TypeScript block that a reader may copy. */
export interface DocumentedCode {
  /** Where it stands: `README.md:12`. */
  readonly place: string;
  readonly text: string;
  /** False for blocks marked `no-run`: they are compiled only. */
  readonly isRun: boolean;
}

const hasBlock = (path: string): boolean => !path.startsWith('docs/api/');

/** Every TypeScript block of README.md and of the pages below docs/, generated ones left out. */
export const documentedCode: readonly DocumentedCode[] = [
  'README.md',
  ...filesBelow('docs', '.md').filter(hasBlock),
].flatMap((path) =>
  codeBlocks(readPackageFile(path))
    .filter(({ language }) => language === 'ts')
    .map(({ line, marks, text }) => ({ place: `${path}:${line}`, text, isRun: !marks.includes('no-run') })),
);

const virtualPath = ({ place }: DocumentedCode): string => `documented/${place.replaceAll(/\W/g, '-')}.ts`;

/** What the compiler says against each block, by its place, checked against src/ in one program. */
export function compileErrors(blocks: readonly DocumentedCode[]): ReadonlyMap<string, string> {
  const program = createProgram([], new Map(blocks.map((block) => [virtualPath(block), block.text])));
  const said = blocks.map((block): [string, string] => {
    const file = program.getSourceFile(join(packageRoot, virtualPath(block)));
    const wrong = [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)];
    const lines = wrong.map(({ start = 0, messageText }) => {
      const line = (file?.getLineAndCharacterOfPosition(start).line ?? 0) + 1;
      return `line ${line}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`;
    });
    return [block.place, lines.join('\n')];
  });
  return new Map(said);
}

/** Makes the built package and what it depends on importable from `folder`, as after `npm install holdfast`. */
async function installInto(folder: string): Promise<void> {
  const modules = join(folder, 'node_modules');
  await mkdir(modules);
  await symlink(packageRoot, join(modules, 'holdfast'), 'dir');
  const installed = join(packageRoot, 'node_modules');
  const names = (await readdir(installed)).filter((name) => !name.startsWith('.') && name !== 'holdfast');
  await Promise.all(names.map((name) => symlink(join(installed, name), join(modules, name), 'dir')));
}

/** Runs the block in a folder of its own against the built package; rejects with all it printed if it fails or hangs. */
export async function runBlock(block: DocumentedCode): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-docs-'));
  try {
    await installInto(folder);
    const file = join(folder, 'block.mjs');
    const compilerOptions = {
      target: ts.ScriptTarget.ES2022,
      module: ts.ModuleKind.ESNext,
      verbatimModuleSyntax: true,
    };
    await writeFile(file, ts.transpileModule(block.text, { compilerOptions }).outputText);
    const { stdout } = await promisify(execFile)(process.execPath, [file], { cwd: dirname(file), timeout: 30_000 });
    return stdout;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
