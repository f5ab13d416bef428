// Runs an exported network in onnxruntime-web's WebAssembly and compares it with the known answers.
// In an empty folder:  npm install onnxruntime-web; node onnx_web.mjs VECTORS.json NETWORK.onnx
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import ort from "onnxruntime-web";

const [vectors, file] = process.argv.slice(2);
const { network, cases } = JSON.parse(readFileSync(vectors));
ort.env.wasm.numThreads = 1;
const session = await ort.InferenceSession.create(readFileSync(file), { executionProviders: ["wasm"] });

const shape = Object.fromEntries(session.inputMetadata.map((i) => [i.name, i.shape]));
const u64 = (n) => { const b = Buffer.alloc(8); b.writeBigUInt64BE(BigInt(n)); return b; };
const shake = (label, parts, nbytes) =>
  createHash("shake256", { outputLength: nbytes })
    .update(Buffer.concat([Buffer.from(`veilscope/keystream/1/${label}`), ...parts])).digest();

for (const c of cases) {
  const digest = Buffer.from(network.digest, "hex"), key = Buffer.from(c.key, "hex");
  const lanes = shape.material[0] + 8, blocks = Math.ceil(c.nbytes / lanes);
  const drawn = shake("bias", [digest, key], 2 * shape.key_biases[0]);
  const biases = Int32Array.from({ length: shape.key_biases[0] }, (_, i) => drawn.readUInt16BE(2 * i));
  const material = shake("frame", [digest, key, u64(c.counter)], lanes - 8);
  const counters = Buffer.concat([...Array(blocks).keys()].map((i) => u64(BigInt(c.first_block) + BigInt(i))));
  const { keystream } = await session.run({
    material: new ort.Tensor("uint8", Uint8Array.from(material), [lanes - 8]),
    block_counters: new ort.Tensor("uint8", Uint8Array.from(counters), [blocks, 8]),
    key_biases: new ort.Tensor("int32", biases, [biases.length]),
  });
  const sha256 = createHash("sha256").update(keystream.data.subarray(0, c.nbytes)).digest("hex");
  console.log(sha256 === c.sha256 ? "equal" : "DIFFERENT", c.name);
}
