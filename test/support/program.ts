import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import ts from 'typescript';

/** The folder of package.json. */
export const packageRoot = resolve(import.meta.dirname, '../..');

/** Every file below `folder` whose name ends in `ending`, as paths from the package root with forward slashes, sorted. */
export function filesBelow(folder: string, ending: string): string[] {
  const start = join(packageRoot, folder);
  if (!existsSync(start)) return [];
  return readdirSync(start, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(ending))
    .map((entry) => relative(packageRoot, join(entry.parentPath, entry.name)).replaceAll('\\', '/'))
    .sort();
}

/** Text of one file of the package, by its path from the root. */
export function readPackageFile(path: string): string {
  return readFileSync(join(packageRoot, path), 'utf8');
}

/** Texts that exist for the compiler only, by path from the root. */
export type VirtualFiles = ReadonlyMap<string, string>;

/** A compiler program with the options of tsconfig.json over files of the package and, on top, virtual ones. */
export function createProgram(paths: readonly string[], virtual: VirtualFiles = new Map()): ts.Program {
  const config = ts.readConfigFile(join(packageRoot, 'tsconfig.json'), ts.sys.readFile).config;
  const { options } = ts.parseJsonConfigFileContent({ ...config, files: [], include: [] }, ts.sys, packageRoot);
  const texts = new Map([...virtual].map(([path, text]) => [join(packageRoot, path), text]));
  const host = ts.createCompilerHost(options);
  const { fileExists, readFile, getSourceFile } = host;
  host.fileExists = (path) => texts.has(path) || fileExists(path);
  host.readFile = (path) => texts.get(path) ?? readFile(path);
  host.getSourceFile = (path, language, ...rest) => {
    const text = texts.get(path);
    return text === undefined
      ? getSourceFile(path, language, ...rest)
      : ts.createSourceFile(path, text, language, true);
  };
  return ts.createProgram(
    [...paths, ...virtual.keys()].map((path) => join(packageRoot, path)),
    options,
    host,
  );
}
