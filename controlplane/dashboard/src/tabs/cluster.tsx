/** A new cluster; its answer holds the key of its agents. */
import { useState } from "preact/hooks";
import { call } from "../api/client";
import { Dialog, Fault, useWrite } from "../components/dialog";
import { showKey } from "../components/new-key";
import { Field } from "../components/parts";
import { touch } from "../state/resource";

export function NewCluster({ onClose }: { onClose: () => void }) {
  const [name, setName] = useState("");
  const [region, setRegion] = useState("");
  const write = useWrite();
  const taken = write.problem?.code === "name_taken";
  const submit = (event: Event) => {
    event.preventDefault();
    void write.run(async () => {
      const made = await call("POST /api/clusters", { body: { name, region: region.trim() || null } });
      showKey(`agents of ${made.name}`, made.api_key, true);
      onClose();
      await touch("/api/clusters", "/api/api-keys");
    });
  };
  return (
    <Dialog title="New cluster" onClose={onClose} closable={!write.busy /* the key is made, and can be shown once */}>
      <form onSubmit={submit}>
        <Field label="Name" hint="Nodes under one name and one key of their agents." fault={write.at("name") ?? (taken ? write.fault : undefined)}>
          <input autofocus required maxLength={255} value={name} placeholder="us-east-prod" onInput={(event) => setName(event.currentTarget.value)} />
        </Field>
        <Field label="Region" hint="May stay empty." fault={write.at("region")}>
          <input maxLength={255} value={region} placeholder="us-east-1" onInput={(event) => setRegion(event.currentTarget.value)} />
        </Field>
        <Fault text={taken ? "" : write.fault} />
        <footer>
          <button type="button" class="button" disabled={write.busy} onClick={onClose}>Cancel</button>
          <button class="button primary" disabled={write.busy || !name.trim()}>{write.busy ? "Creating …" : "Create cluster"}</button>
        </footer>
      </form>
    </Dialog>
  );
}
