/** fleet */
import { Empty } from "../components/states";

export const View = () => <Empty title="Under way" />;
