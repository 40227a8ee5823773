import { join } from 'node:path';
import ts from 'typescript';
import { createProgram, filesBelow, packageRoot, readPackageFile } from './program.js';

interface PackageJson {
  readonly exports: Readonly<Record<string, unknown>>;
  readonly scripts: Readonly<Record<string, string>>;
}

/** package.json of the package itself. */
export const packageJson: PackageJson = JSON.parse(readPackageFile('package.json'));

/** Something hosts can import from: `name` as in the file api/<name>.txt. */
export interface Entry {
  readonly name: string;
  readonly specifier: string;
  readonly source: string;
}

/** The entries that package.json declares, with the source each is built from. */
export const entries: readonly Entry[] = Object.keys(packageJson.exports)
  .filter((path) => path !== './package.json')
  .map((path) => {
    const name = path === '.' ? 'index' : path.slice(2);
    return {
      name: name.replaceAll('/', '-'),
      specifier: path === '.' ? 'holdfast' : `holdfast/${name}`,
      source: `src/${name}.ts`,
    };
  });

/** One exported name; `kind` as one would write it in source: class, function, interface, type, const. */
export interface PublicName {
  readonly name: string;
  readonly kind: string;
  readonly isDocumented: boolean;
}

const kinds = new Map([
  [ts.SyntaxKind.ClassDeclaration, 'class'],
  [ts.SyntaxKind.FunctionDeclaration, 'function'],
  [ts.SyntaxKind.InterfaceDeclaration, 'interface'],
  [ts.SyntaxKind.TypeAliasDeclaration, 'type'],
  [ts.SyntaxKind.VariableDeclaration, 'const'],
]);

/** What the file at `path` exports, in alphabetical order, wherever it was declared. */
export function publicNames(program: ts.Program, path: string): PublicName[] {
  const checker = program.getTypeChecker();
  const file = program.getSourceFile(join(packageRoot, path));
  const module = file && checker.getSymbolAtLocation(file);
  if (!module) return []; // A file without any import or export.
  return checker
    .getExportsOfModule(module)
    .map((exported) => {
      const isAlias = (exported.flags & ts.SymbolFlags.Alias) !== 0;
      const symbol = isAlias ? checker.getAliasedSymbol(exported) : exported;
      const kind = symbol.declarations?.[0]?.kind ?? ts.SyntaxKind.Unknown;
      return {
        name: exported.name,
        kind: kinds.get(kind) ?? ts.SyntaxKind[kind],
        isDocumented: symbol.getDocumentationComment(checker).length > 0,
      };
    })
    .sort((one, other) => (one.name < other.name ? -1 : 1));
}

/** A class below HoldfastError; `code` is undefined when it declares none of its own as a literal. */
export interface ErrorClass {
  readonly name: string;
  readonly path: string;
  readonly isAbstract: boolean;
  readonly code: string | undefined;
}

function isBelowHoldfastError(type: ts.Type): boolean {
  const bases = type.isClassOrInterface() ? (type.getBaseTypes() ?? []) : [];
  return bases.some((base) => base.symbol?.name === 'HoldfastError' || isBelowHoldfastError(base));
}

function codeOf(declaration: ts.ClassDeclaration): string | undefined {
  const code = declaration.members.find((member) => member.name?.getText() === 'code');
  const value = code && ts.isPropertyDeclaration(code) ? code.initializer : undefined;
  return value && ts.isStringLiteralLike(value) ? value.text : undefined;
}

/** Every class of the given files that extends HoldfastError, directly or through another class. */
export function errorClasses(program: ts.Program, paths: readonly string[]): ErrorClass[] {
  const checker = program.getTypeChecker();
  return paths.flatMap((path) =>
    (program.getSourceFile(join(packageRoot, path))?.statements ?? []).flatMap((statement) => {
      if (!ts.isClassDeclaration(statement) || !statement.name) return [];
      if (!isBelowHoldfastError(checker.getTypeAtLocation(statement))) return [];
      const isAbstract = statement.modifiers?.some(({ kind }) => kind === ts.SyntaxKind.AbstractKeyword) ?? false;
      return [{ name: statement.name.text, path, isAbstract, code: codeOf(statement) }];
    }),
  );
}

/** Sources whose error classes hosts can meet. */
export const errorSources: readonly string[] = filesBelow('src', '.ts').filter(
  (path) => !path.startsWith('src/testing'),
);

/** All of src/, checked as one program. */
export const createSourceProgram = (): ts.Program => createProgram(filesBelow('src', '.ts'));
