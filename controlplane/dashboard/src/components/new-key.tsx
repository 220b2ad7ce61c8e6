/** What is shown once, such as a key that was just made; and what brings an agent onto a host. */
import { useEffect } from "preact/hooks";
import { secrets, showOnce, type OneTime } from "../state/dialogs";
import { BASE } from "../url/route";
import { CopyLine, Secret } from "./copy";
import { Dialog } from "./dialog";

/** `agents`: whether it is a cluster's, which its agents use. */
export const showKey = (label: string, raw: string, agents: boolean): void => showOnce({
  title: "Copy this key now",
  body: <p>This is the only time that the key <b class="quoted">{label}</b> is shown. The control plane keeps a hash of it, and nobody can bring it back.</p>,
  label: "The new API key",
  text: raw,
  after: agents && <Install />,
});

/** Part of the shell and of no tab: the palette, the way back and a key that is refused take tabs away. */
export const Secrets = () => <>{secrets.value.slice(0, 1).map((made) => <Shown key={made.text} made={made} />)}</>;

function Shown({ made }: { made: OneTime }) {
  useEffect(() => {
    addEventListener("beforeunload", askWhetherToLeave);
    return () => removeEventListener("beforeunload", askWhetherToLeave);
  }, []);
  const close = () => void (secrets.value = secrets.value.filter((each) => each !== made));
  return (
    <Dialog title={made.title} onClose={close} closable={false}>
      <div class="prose">{made.body}</div>
      <Secret text={made.text} label={made.label} />
      {made.after}
      <footer>
        <button class="button primary" onClick={close}>I saved it</button>
      </footer>
    </Dialog>
  );
}

const askWhetherToLeave = (event: Event): void => event.preventDefault();

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
