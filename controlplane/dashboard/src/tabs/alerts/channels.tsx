/** Where notifications go, and how each of these places fares. */
import { useState } from "preact/hooks";
import { call } from "../../api/client";
import type { ChannelCreate, ChannelRecord } from "../../api/schema";
import { mayOperate } from "../../api/session";
import { Dialog, Fault, useWrite } from "../../components/dialog";
import { Icon } from "../../components/icon";
import { Field, Panel, Status } from "../../components/parts";
import { Empty, Loaded } from "../../components/states";
import { Table, type Column } from "../../components/table";
import { ago, counted, stamp } from "../../format";
import { confirm, showOnce, tell } from "../../state/dialogs";
import { touch, useResource } from "../../state/resource";
import { BASE } from "../../url/route";

const TYPES = [
  ["webhook", "Webhook: signed JSON", "https://hooks.example.com/gpuforge"],
  ["alertmanager", "Alertmanager", "http://alertmanager:9093"],
  ["apprise", "Apprise: Slack, e-mail, PagerDuty …", "slack://…"],
] as const;
const LIST = "/api/alerts/channels";

export function Channels() {
  const [making, setMaking] = useState(false);
  const channels = useResource(LIST, () => call("GET /api/alerts/channels"), 15_000);
  return (
    <Panel title="Channels" class="fills" note="Notifications go to each of them, grouped; one that is down holds up no other."
      actions={mayOperate("admin") && <button class="button primary" onClick={() => setMaking(true)}><Icon name="plus" />Add channel</button>}>
      <Loaded of={channels} skeleton={5}>
        {(rows) => rows.length ? <Table label="Channels" columns={columns()} rows={rows} rowKey={(row) => row.id} /> : (
          <Empty title="Nobody is notified yet" command={`curl -X POST ${BASE}api/alerts/channels -H "Authorization: Bearer $GPUFORGE_API_KEY" -H "Content-Type: application/json" -d '{"name": "on call", "type": "webhook", "url": "https://hooks.example.com/gpuforge"}'`}>Alerts are kept and shown here; a channel carries them to where you are:</Empty>
        )}
      </Loaded>
      {making && <Make onClose={() => setMaking(false)} />}
    </Panel>
  );
}

const columns = (): Column<ChannelRecord>[] => [
  { id: "name", title: "Channel", cell: (row) => <b>{row.name}</b> },
  { id: "type", title: "Type", cell: (row) => row.type },
  { id: "address", title: "Address", wide: true, cell: (row) => <code title={row.address}>{row.address}</code> },
  { id: "least", title: "From", cell: (row) => row.min_severity },
  { id: "state", title: "State", wide: true, cell: (row) => <Fares channel={row} /> },
  { id: "waiting", title: "Waiting", numeric: true, cell: (row) => row.waiting || <span class="faint">0</span> },
  ...(mayOperate("admin") ? [{ id: "remove", title: "Remove", quiet: true, cell: (row: ChannelRecord) => <button class="button small" aria-label={`Remove ${row.name}`} onClick={() => remove(row)}>Remove</button> }] : []),
];

function Fares({ channel }: { channel: ChannelRecord }) {
  const failed = channel.last_error_at && (!channel.last_success_at || channel.last_error_at > channel.last_success_at);
  if (failed) return <span class="wraps"><Status kind="solid">failed {ago(channel.last_error_at)}: {channel.last_error}</Status></span>;
  return channel.last_success_at ? <Status kind="dot">delivered {ago(channel.last_success_at)}</Status> : <Status kind="free">nothing sent since {stamp(channel.created_at)}</Status>;
}

function remove(channel: ChannelRecord): void {
  confirm({
    title: "Remove this channel?",
    body: <p>Nothing is sent to <b class="quoted">{channel.name}</b> any more{channel.waiting > 0 && `, ${counted(channel.waiting, "notification")} that still wait included`}.</p>,
    action: "Remove channel",
    danger: true,
    typed: channel.name,
    run: async () => {
      await call("DELETE /api/alerts/channels/{channel_id}", { path: { channel_id: channel.id } });
      await touch(LIST);
      return `${channel.name} was removed.`;
    },
  });
}

function Make({ onClose }: { onClose: () => void }) {
  const [name, setName] = useState("");
  const [type, setType] = useState<ChannelCreate["type"]>("webhook");
  const [url, setUrl] = useState("");
  const [least, setLeast] = useState<NonNullable<ChannelCreate["min_severity"]>>("info");
  const write = useWrite();
  const submit = (event: Event) => {
    event.preventDefault();
    void write.run(async () => {
      const made = await call("POST /api/alerts/channels", { body: { name, type, url, min_severity: least } });
      if (made.type === "webhook" && made.signing_secret)
        showOnce({
          title: "Copy the signing secret now",
          body: <p>What is sent to <b class="quoted">{name}</b> is signed with it. This is the only time that it is shown.</p>,
          label: "The signing secret",
          text: made.signing_secret,
        });
      else tell(`${name} was added.`);
      onClose();
      await touch(LIST);
    });
  };
  return (
    <Dialog title="Add channel" onClose={onClose}>
      <form onSubmit={submit}>
        <Field label="Name" fault={write.at("name")}>
          <input autofocus required maxLength={255} value={name} placeholder="on call" onInput={(event) => setName(event.currentTarget.value)} />
        </Field>
        <div class="two">
          <Field label="Type">
            <select value={type} onChange={(event) => setType(event.currentTarget.value as ChannelCreate["type"])}>{TYPES.map(([id, title]) => <option key={id} value={id}>{title}</option>)}</select>
          </Field>
          <Field label="From which severity on">
            <select value={least} onChange={(event) => setLeast(event.currentTarget.value as typeof least)}>{["info", "warning", "critical"].map((each) => <option key={each}>{each}</option>)}</select>
          </Field>
        </div>
        <Field label="Address" hint="Stored sealed, and shown without path and password." fault={write.at("url")}>
          <input required maxLength={255} class="mono" value={url} placeholder={TYPES.find(([id]) => id === type)?.[2]} onInput={(event) => setUrl(event.currentTarget.value)} />
        </Field>
        <Fault text={write.fault} />
        <footer>
          <button type="button" class="button" onClick={onClose}>Cancel</button>
          <button class="button primary" disabled={write.busy || !name.trim() || !url.trim()}>{write.busy ? "Adding …" : "Add channel"}</button>
        </footer>
      </form>
    </Dialog>
  );
}
