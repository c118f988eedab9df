// Run by scripts/contract: compiles the Solidity source and writes the artefact. Without a metadata hash, so that the
// same source gives the same bytes on every machine.
const { createHash } = require('node:crypto');
const { readFileSync, writeFileSync } = require('node:fs');
const solc = require('solc');

const folder = 'crates/testkit/contract';
const source = readFileSync(`${folder}/ProtocolState.sol`, 'utf8');
const input = {
  language: 'Solidity',
  sources: { 'ProtocolState.sol': { content: source } },
  settings: {
    optimizer: { enabled: true, runs: 200 },
    evmVersion: 'paris',
    metadata: { bytecodeHash: 'none' },
    outputSelection: { '*': { '*': ['abi', 'evm.bytecode.object'] } },
  },
};
const output = JSON.parse(solc.compile(JSON.stringify(input)));
const problems = output.errors ?? [];
if (problems.length > 0) {
  console.error(problems.map((problem) => problem.formattedMessage).join('\n'));
  process.exit(1);
}
const contracts = Object.entries(output.contracts['ProtocolState.sol']).map(([name, contract]) => [
  name,
  { abi: contract.abi, bytecode: `0x${contract.evm.bytecode.object}` },
]);
const artefact = {
  compiler: solc.version(),
  source_sha3_256: createHash('sha3-256').update(source).digest('hex'),
  contracts: Object.fromEntries(contracts),
};
writeFileSync(`${folder}/ProtocolState.json`, `${JSON.stringify(artefact, null, 1)}\n`);
