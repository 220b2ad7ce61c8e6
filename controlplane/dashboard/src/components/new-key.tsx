/** A key that was just made, shown this once; and what brings an agent onto a host. */
import { BASE } from "../url/route";
import { CopyLine, Secret } from "./copy";
import { Dialog } from "./dialog";

interface NewKeyProps {
  label: string;
  raw: string;
  /** Whether it is a cluster's: its agents use it. */
  agents: boolean;
  onClose: () => void;
}

export const NewKey = ({ label, raw, agents, onClose }: NewKeyProps) => (
  <Dialog key="made" title="Copy this key now" onClose={onClose} closable={false}>
    <div class="prose">
      <p>This is the only time that the key <b class="quoted">{label}</b> is shown. The control plane keeps a hash of it, and nobody can bring it back.</p>
    </div>
    <Secret text={raw} label="The new API key" />
    {agents && <Install />}
    <footer>
      <button class="button primary" onClick={onClose}>I saved it</button>
    </footer>
  </Dialog>
);

/** Line by line: the second one takes the key from whoever types, so that no shell's history has it. */
export const Install = () => (
  <div class="install">
    <p>On each GPU host, as root; the second line takes the agents' key, then Ctrl D:</p>
    <CopyLine text="apt install ./gpuforge-agent_*.deb" />
    <CopyLine text="install -m 600 /dev/stdin /etc/gpuforge/agent.key" />
    <CopyLine text={`sed -i 's|^#control_plane_url.*|control_plane_url = "${BASE}"|' /etc/gpuforge/agent.toml && systemctl start gpuforge-agent`} />
    <p>Or without the package, with the key in the file <code>key</code>:</p>
    <CopyLine text={`GPUFORGE_API_KEY_FILE=key gpuforge-agent run --control-plane-url ${BASE}`} />
  </div>
);
