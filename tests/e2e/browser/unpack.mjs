// Unpacks the browser of @sparticuz/chromium, its libraries and its fonts: unpack.mjs MODULES FOLDER. The package's own way
// does so into the system's temporary folder, and its libraries only where it finds itself on AWS.

import { execFileSync } from "node:child_process";
import { createReadStream, createWriteStream, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { pipeline } from "node:stream/promises";
import { createBrotliDecompress } from "node:zlib";

const [modules, folder] = process.argv.slice(2);
const packed = (name) => createReadStream(`${modules}/@sparticuz/chromium/bin/${name}.br`);

mkdirSync(folder, { recursive: true });
await pipeline(packed("chromium"), createBrotliDecompress(), createWriteStream(`${folder}/chromium`, { mode: 0o755 }));
for (const name of ["al2023.tar", "fonts.tar"]) {
  const file = `${folder}/${name}`;
  await pipeline(packed(name), createBrotliDecompress(), createWriteStream(file));
  execFileSync("tar", ["-xf", file, "-C", folder, "--no-same-owner"]);
  rmSync(file);
}
// The package's fonts are used wherever the tests run, so that a page looks the same.
writeFileSync(`${folder}/fonts.conf`, `<fontconfig><dir>${folder}/fonts</dir><cachedir>${folder}/cache</cachedir></fontconfig>\n`);
