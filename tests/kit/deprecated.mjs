// Prints the names in a file that are marked as deprecated where they are used, one a line.
import ts from "typescript";

const file = process.argv[2];
const host = {
  ...ts.createCompilerHost({}),
  getScriptFileNames: () => [file],
  getScriptVersion: () => "1",
  getScriptSnapshot: (name) => (ts.sys.fileExists(name) ? ts.ScriptSnapshot.fromString(ts.sys.readFile(name)) : undefined),
  getCompilationSettings: () => ({ strict: true, noEmit: true, target: ts.ScriptTarget.ES2022, moduleResolution: ts.ModuleResolutionKind.Bundler, module: ts.ModuleKind.ESNext }),
};
const service = ts.createLanguageService(host);
for (const found of service.getSuggestionDiagnostics(file)) {
  if (found.reportsDeprecated) console.log(found.file.text.substr(found.start, found.length));
}
