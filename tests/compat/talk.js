// Drives a host with the client of the npm package `durable-functions`, as an app that is given the client binding.
//
//     talk.js URL [KEY]
//
// URL is the address of a host with the sample modules `bench`, `bench_activities` and `bench_entities`. Every call of the
// client is made, and each answer is checked. Exits with the first surprise.

"use strict";

const assert = require("node:assert/strict");

// Without it, the package replaces the address of the host by localhost:7071.
process.env.WEBSITE_HOSTNAME = "windlass";
const df = require("durable-functions");
const { InvocationContext } = require("@azure/functions");

const [url, key] = process.argv.slice(2);
// How long an instance may take until it is as expected, in milliseconds.
const PATIENCE_MS = 30_000;

/** The client of an app whose binding is the document of the host. Without `rpc`, it uses the links of the binding. */
async function clientOf({ rpc }) {
  const code = key === undefined ? "" : `?code=${key}`;
  const answer = await fetch(`${url}/runtime/webhooks/durabletask/durableClient${code}`);
  assert.equal(answer.status, 200);
  const binding = await answer.json();
  assert.equal(binding.rpcBaseUrl !== null, key === undefined, "only a host without keys works without one");
  if (!rpc) {
    delete binding.rpcBaseUrl;
  }
  const input = df.input.durableClient();
  const context = new InvocationContext({ options: { extraInputs: [input] } });
  context.extraInputs.set(input, binding);
  return df.getClient(context);
}

/** Asks for the status until it is as expected. */
async function once(client, id, status, options) {
  const until = Date.now() + PATIENCE_MS;
  for (;;) {
    const found = await client.getStatus(id, options);
    if (found.runtimeStatus === status) {
      return found;
    }
    assert.ok(Date.now() < until, `${id} is ${found.runtimeStatus}, not ${status}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function startAndWait(client, prefix) {
  const id = await client.startNew("BenchChain", { instanceId: `${prefix} chain`, input: "text" });
  assert.equal(id, `${prefix} chain`);
  const answer = await client.waitForCompletionOrCreateCheckStatusResponse(undefined, id, {
    timeoutInMilliseconds: PATIENCE_MS,
    retryIntervalInMilliseconds: 50,
  });
  assert.equal(answer.status, 200);
  assert.equal(await answer.json(), "text");

  const status = await client.getStatus(id, { showHistory: true, showHistoryOutput: true, showInput: true });
  assert.equal(status.name, "BenchChain");
  assert.equal(status.instanceId, id);
  assert.equal(status.runtimeStatus, df.OrchestrationRuntimeStatus.Completed);
  assert.equal(status.input, "text");
  assert.equal(status.output, "text");
  assert.ok(Math.abs(Date.now() - status.createdTime.getTime()) < 10 * PATIENCE_MS);
  assert.ok(status.lastUpdatedTime >= status.createdTime);

  const generated = await client.startNew("BenchChain");
  assert.match(generated, /^[0-9a-f]{32}$/);
  assert.equal((await once(client, generated, "Completed")).output, "", "the client sends an empty string as input");
  await assert.rejects(client.startNew("Missing"), /400.*Missing/);
  await assert.rejects(client.getStatus("nobody"), /404/);
  return generated;
}

/** The package expects the history in another field than the service has, so it is read from the link itself. */
async function history(client, prefix) {
  const links = client.createHttpManagementPayload(encodeURIComponent(`${prefix} chain`));
  const answer = await fetch(`${links.statusQueryGetUri}&showHistory=true&showHistoryOutput=true`);
  const { historyEvents } = await answer.json();
  const types = historyEvents.map((event) => event.EventType);
  assert.deepEqual(types, ["ExecutionStarted", ...Array(5).fill("TaskCompleted"), "ExecutionCompleted"]);
  for (const event of historyEvents.slice(1, 6)) {
    assert.equal(event.FunctionName, "BenchEcho");
    assert.equal(event.Input, '"text"');
    assert.equal(event.Result, "text");
  }
}

async function steer(client, prefix) {
  const id = await client.startNew("BenchParked", { instanceId: `${prefix}-parked`, input: null });
  await assert.rejects(client.startNew("BenchParked", { instanceId: id, input: null }), /409/);
  await once(client, id, "Running");
  await client.suspend(id, "a pause");
  await once(client, id, "Suspended");
  await client.raiseEvent(id, "GO", "ahead");
  assert.equal((await client.getStatus(id)).runtimeStatus, "Suspended");
  await client.resume(id, "go on");
  assert.equal((await once(client, id, "Completed")).output, "ahead");
  // The client takes 410 as success.
  await client.raiseEvent(id, "go", "too late");
  await client.suspend(id, "too late");
  await client.resume(id, "too late");
  await client.terminate(id, "too late");
  for (const call of ["suspend", "resume", "terminate", "raiseEvent"]) {
    await assert.rejects(client[call]("nobody", "x"), /No instance with ID 'nobody' found/);
  }

  const other = await client.startNew("BenchParked", { instanceId: `${prefix}-ended`, input: null });
  const response = await client.waitForCompletionOrCreateCheckStatusResponse(undefined, other, {
    timeoutInMilliseconds: 100,
    retryIntervalInMilliseconds: 50,
  });
  assert.equal(response.status, 202);
  assert.equal((await response.json()).id, other);
  await client.terminate(other, "not needed any more");
  assert.equal((await once(client, other, "Terminated")).output, "not needed any more");
}

async function rewind(client, prefix) {
  const id = await client.startNew("BenchFanout", { instanceId: `${prefix}-good`, input: { activities: 1 } });
  await once(client, id, "Completed");
  await assert.rejects(client.rewind("nobody", "again"), /there is no instance/);
  await assert.rejects(client.rewind(id, "again"), /only a failed instance/);
  // More calls than a turn may make.
  const failing = await client.startNew("BenchFanout", { instanceId: `${prefix}-fails`, input: { activities: 1_000_000 } });
  const failed = await once(client, failing, "Failed");
  await client.rewind(failing, "again");
  // It fails again, and has changed since.
  while ((await client.getStatus(failing)).lastUpdatedTime.valueOf() === failed.lastUpdatedTime.valueOf()) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  await once(client, failing, "Failed");
  assert.equal((await client.purgeInstanceHistory(failing)).instancesDeleted, 1);
}

async function entities(client, prefix) {
  const unknown = new df.EntityId("nothing", "a");
  assert.equal((await client.readEntityState(unknown)).entityExists, false);
  await assert.rejects(client.signalEntity(unknown, "add"), /no module offers the entity/);
  const counter = new df.EntityId("BenchCounter", `${prefix}-${key === undefined ? "open" : "key"}`);
  assert.equal((await client.readEntityState(counter)).entityExists, false);
  await client.signalEntity(counter, "add");
  await client.signalEntity(counter, "add");
  const begun = Date.now();
  for (;;) {
    const read = await client.readEntityState(counter);
    if (read.entityExists && read.entityState.count === 2) {
      break;
    }
    assert.ok(Date.now() - begun < PATIENCE_MS, JSON.stringify(read));
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** More instances than one page has, so that the client follows tokens. */
async function listAndPurge(client, prefix) {
  const begun = new Date(Date.now() - 1_000);
  const ids = Array.from({ length: 130 }, (_, number) => `${prefix}-many-${number}`);
  for (let first = 0; first < ids.length; first += 10) {
    const some = ids.slice(first, first + 10);
    await Promise.all(some.map((id) => client.startNew("BenchChain", { instanceId: id, input: "x" })));
  }
  for (const id of ids) {
    await once(client, id, "Completed");
  }
  const named = (list) => list.map((status) => status.instanceId).filter((id) => id.startsWith(`${prefix}-many-`));
  assert.deepEqual(named(await client.getStatusAll()).sort(), [...ids].sort());
  const completed = await client.getStatusBy({
    createdTimeFrom: begun,
    createdTimeTo: new Date(Date.now() + 60_000),
    runtimeStatus: [df.OrchestrationRuntimeStatus.Completed],
  });
  assert.deepEqual(named(completed).sort(), [...ids].sort());
  assert.ok(completed.every((status) => status.runtimeStatus === "Completed" && "customStatus" in status));
  const failed = await client.getStatusBy({ runtimeStatus: [df.OrchestrationRuntimeStatus.Failed] });
  assert.deepEqual(failed, []);

  assert.equal((await client.purgeInstanceHistory(ids[0])).instancesDeleted, 1);
  assert.equal((await client.purgeInstanceHistory(ids[0])).instancesDeleted, 0);
  const live = await client.startNew("BenchParked", { instanceId: `${prefix}-live`, input: null });
  await assert.rejects(client.purgeInstanceHistory(live), /412/);
  const filter = { createdTimeFrom: begun, runtimeStatus: [df.OrchestrationRuntimeStatus.Completed] };
  const purged = await client.purgeInstanceHistoryBy(filter);
  assert.ok(purged.instancesDeleted >= ids.length - 1, `${purged.instancesDeleted}`);
  assert.equal((await client.purgeInstanceHistoryBy(filter)).instancesDeleted, 0);
  assert.deepEqual(named(await client.getStatusAll()), []);
  await client.terminate(live, "done");
}

async function main() {
  for (const rpc of key === undefined ? [true, false] : [false]) {
    const client = await clientOf({ rpc });
    const prefix = rpc ? "rpc" : "links";
    const steps = { startAndWait, history, steer, rewind, entities, listAndPurge };
    for (const [name, step] of Object.entries(steps)) {
      await step(client, prefix);
      console.log(`compat: ${prefix}${key === undefined ? "" : " with a key"}: ${name}`);
    }
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
