// What the documentation of the npm package `etcd3` shows, done against the servers named as arguments.
// One line per example: `ok NAME` or `not ok NAME: why`.
'use strict';

const assert = require('assert');
const { Etcd3, EtcdLockFailedError, EtcdPermissionDeniedError, EtcdAuthenticationFailedError } = require('etcd3');

const hosts = process.argv.slice(2).map((address) => `http://${address}`);
const client = new Etcd3({ hosts });
const DEADLINE_MS = 30000;
// Of the package's isolation levels; its default also refuses keys that were written one after the other.
const SERIALIZABLE = 1;

const within = (promise, what) => {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not in time`)), DEADLINE_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
};
const event = (emitter, name) => within(new Promise((resolve) => emitter.once(name, resolve)), name);

const examples = {
  'quick start': async () => {
    await client.put('foo').value('bar');
    assert.strictEqual(await client.get('foo').string(), 'bar');
    await client.put('fool').value('2');
    assert.deepStrictEqual((await client.getAll().prefix('f').keys()).sort(), ['foo', 'fool']);
    assert.deepStrictEqual(await client.getAll().prefix('f').strings(), { foo: 'bar', fool: '2' });
    await client.delete().all();
    assert.strictEqual(await client.get('foo').string(), null);
  },

  'values of every kind': async () => {
    await client.put('number').value(42);
    assert.strictEqual(await client.get('number').number(), 42);
    await client.put('json').value(JSON.stringify({ a: [1] }));
    assert.deepStrictEqual(await client.get('json').json(), { a: [1] });
    const bytes = Buffer.from([0, 255, 128]);
    await client.put('bytes').value(bytes);
    assert.ok((await client.get('bytes').buffer()).equals(bytes));
    assert.strictEqual(await client.get('absent').exists(), false);
  },

  'ranges, limits and order': async () => {
    for (const key of ['r/b', 'r/a', 'r/c', 's']) await client.put(key).value(key.toUpperCase());
    assert.strictEqual(await client.getAll().prefix('r/').count(), 3);
    const sorted = await client.getAll().prefix('r/').sort('Key', 'Descend').limit(2).keys();
    assert.deepStrictEqual(sorted, ['r/c', 'r/b']);
    assert.deepStrictEqual(await client.getAll().inRange({ start: 'r/b', end: 's' }).keys(), ['r/b', 'r/c']);
    const previous = await client.delete().prefix('r/').getPrevious();
    assert.deepStrictEqual(previous.map((kv) => kv.key.toString()), ['r/a', 'r/b', 'r/c']);
  },

  'revisions of the past': async () => {
    const first = await client.put('history').value('old');
    await client.put('history').value('new');
    assert.strictEqual(await client.get('history').revision(first.header.revision).string(), 'old');
    const previous = await client.put('history').value('newer').getPrevious();
    assert.strictEqual(previous.value.toString(), 'new');
    await client.put('history').touch();
    assert.strictEqual(await client.get('history').string(), 'newer');
  },

  'a lock by a transaction': async () => {
    const lock = (id) =>
      client.if('my_lock', 'Create', '==', 0).then(client.put('my_lock').value(id)).else(client.get('my_lock')).commit();
    assert.strictEqual((await lock('one')).succeeded, true);
    const second = await lock('two');
    assert.strictEqual(second.succeeded, false);
    assert.strictEqual(second.responses[0].response_range.kvs[0].value.toString(), 'one');
    const unlocked = await client.if('my_lock', 'Value', '==', 'one').then(client.delete().key('my_lock')).commit();
    assert.strictEqual(unlocked.succeeded, true);
    assert.strictEqual((await lock('two')).succeeded, true);
  },

  'a lease that keeps a key': async () => {
    const lease = client.lease(5);
    await lease.put('available-hosts/one').value('');
    await lease.keepaliveOnce();
    assert.deepStrictEqual(await client.getAll().prefix('available-hosts').keys(), ['available-hosts/one']);
    await lease.revoke();
    assert.deepStrictEqual(await client.getAll().prefix('available-hosts').keys(), []);
  },

  'a lease that is lost': async () => {
    const lease = client.lease(2);
    const id = await lease.grant();
    const lost = event(lease, 'lost');
    await client.leaseClient.leaseRevoke({ ID: id });
    await lost;
  },

  'a lease that is let go expires': async () => {
    const lease = client.lease(2);
    await lease.put('expiring').value('');
    const watcher = await client.watch().key('expiring').create();
    const deleted = event(watcher, 'delete');
    lease.release();
    await deleted;
    await watcher.cancel();
  },

  'a lock': async () => {
    let held = 0;
    const work = () =>
      client.lock('my_resource').ttl(5).do(async () => {
        held += 1;
        const lock = client.lock('my_resource');
        await assert.rejects(lock.acquire(), EtcdLockFailedError);
      });
    await work();
    await work();
    assert.strictEqual(held, 2);
  },

  'a watch': async () => {
    const watcher = await client.watch().key('watched').create();
    const put = event(watcher, 'put');
    await client.put('watched').value('seen');
    assert.strictEqual((await put).value.toString(), 'seen');
    const deleted = event(watcher, 'delete');
    await client.delete().key('watched');
    assert.strictEqual((await deleted).key.toString(), 'watched');
    await watcher.cancel();
  },

  'a watch from a revision, with previous values and without deletions': async () => {
    const first = await client.put('w/a').value('1');
    await client.delete().key('w/a');
    await client.put('w/a').value('2');
    await client.put('w/a').value('3');
    const seen = [];
    const watcher = client.watch().prefix('w/').only('put').withPreviousKV().startRevision(first.header.revision).watcher();
    await within(
      new Promise((resolve) => {
        watcher.on('put', (kv, previous) => {
          seen.push([kv.value.toString(), previous ? previous.value.toString() : null]);
          if (seen.length === 3) resolve();
        });
      }),
      'three events',
    );
    assert.deepStrictEqual(seen, [['1', null], ['2', null], ['3', '2']]);
    await watcher.cancel();
  },

  'many watches at once': async () => {
    const watchers = await Promise.all([...Array(20).keys()].map((n) => client.watch().key(`many/${n}`).create()));
    const puts = watchers.map((watcher) => event(watcher, 'put'));
    await Promise.all([...Array(20).keys()].map((n) => client.put(`many/${n}`).value(n)));
    const values = (await Promise.all(puts)).map((kv) => kv.value.toString());
    assert.deepStrictEqual(values, [...Array(20).keys()].map(String));
    await Promise.all(watchers.map((watcher) => watcher.cancel()));
  },

  'software transactions': async () => {
    await client.put('bank/account1').value(100);
    await client.put('bank/account2').value(0);
    const transfer = (amount) =>
      client.stm({ isolation: SERIALIZABLE }).transact(async (tx) => {
        const [from, to] = await Promise.all([tx.get('bank/account1').number(), tx.get('bank/account2').number()]);
        if (from < amount) throw new Error('not enough money');
        await Promise.all([tx.put('bank/account1').value(from - amount), tx.put('bank/account2').value(to + amount)]);
      });
    for (const amount of [1, 2, 3, 4, 5]) await transfer(amount);
    assert.strictEqual(await client.get('bank/account1').number(), 85);
    assert.strictEqual(await client.get('bank/account2').number(), 15);
    await assert.rejects(transfer(1000), /not enough money/);
  },

  namespaces: async () => {
    const own = client.namespace('user1/');
    await own.put('foo').value('bar');
    assert.strictEqual(await client.get('user1/foo').string(), 'bar');
    assert.deepStrictEqual(await own.getAll().keys(), ['foo']);
    await own.delete().all();
    assert.strictEqual(await client.get('user1/foo').string(), null);
  },

  'an election': async () => {
    const election = client.election('singleton-job', 5);
    const first = election.campaign('one');
    await event(first, 'elected');
    assert.strictEqual(await election.leader(), 'one');
    const observer = await election.observe();
    assert.strictEqual(observer.leader(), 'one');
    const second = election.campaign('two');
    const elected = event(second, 'elected');
    const changed = within(
      new Promise((resolve) => observer.on('change', (leader) => leader === 'two' && resolve())),
      'the new leader',
    );
    await first.resign();
    await elected;
    await changed;
    await second.resign();
    await observer.cancel();
  },

  'users, roles and logins': async () => {
    const role = await client.role('readers').create();
    await role.grant({ permission: 'Read', range: client.range({ prefix: 'shown/' }) });
    const reader = await client.user('reader').create('secret');
    await reader.addRole('readers');
    assert.deepStrictEqual((await reader.roles()).map((held) => held.name), ['readers']);
    assert.strictEqual((await role.permissions())[0].permission, 'Read');
    const root = await client.user('root').create('root-secret');
    await client.role('root').create();
    await root.addRole('root');
    await client.put('shown/key').value('1');
    await client.auth.authEnable({});
    const asRoot = new Etcd3({ hosts, auth: { username: 'root', password: 'root-secret' } });
    const asReader = new Etcd3({ hosts, auth: { username: 'reader', password: 'secret' } });
    const asStranger = new Etcd3({ hosts, auth: { username: 'reader', password: 'wrong' } });
    try {
      assert.strictEqual(await asReader.get('shown/key').string(), '1');
      await assert.rejects(asReader.put('shown/key').value('2').exec(), EtcdPermissionDeniedError);
      await assert.rejects(asReader.get('hidden').string(), EtcdPermissionDeniedError);
      await assert.rejects(asStranger.get('shown/key').string(), EtcdAuthenticationFailedError);
    } finally {
      await asRoot.auth.authDisable({});
      for (const other of [asRoot, asReader, asStranger]) other.close();
    }
    for (const name of ['reader', 'root']) await client.user(name).delete();
    for (const name of ['readers', 'root']) await client.role(name).delete();
  },

  'members and status': async () => {
    const { members } = await client.cluster.memberList({});
    assert.strictEqual(members.length, hosts.length);
    const status = await client.maintenance.status({});
    assert.ok(/^3\.\d+\.\d+/.test(status.version));
    assert.ok(members.some((member) => member.ID === status.leader));
  },

  deadlines: async () => {
    const own = new Etcd3({ hosts });
    const asked = (deadline) => own.get('never put').options({ deadline }).string();
    assert.strictEqual(await asked(Date.now() + 10000), null);
    await assert.rejects(asked(Date.now() - 1), /deadline/i);
    own.close();
  },
};

(async () => {
  for (const [name, example] of Object.entries(examples)) {
    try {
      await within(example(), name);
      console.log(`ok ${name}`);
    } catch (error) {
      console.log(`not ok ${name}: ${error && error.message}`);
      console.error(name, error);
    }
  }
  client.close();
  process.exit(0);
})();
