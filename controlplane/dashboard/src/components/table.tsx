/** A table that sorts, and draws only the rows in sight once there are many. On a narrow screen each row is a card. */
import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { Icon } from "./icon";

export interface Column<T> {
  id: string;
  title: string;
  cell: (row: T) => ComponentChildren;
  /** What rows are sorted by; without it the column does not sort. Nulls go last either way. */
  by?: (row: T) => number | string | null;
  numeric?: boolean;
  /** The title is for screen readers alone, as for a column of buttons. */
  quiet?: boolean;
  /** Long words: on a card it has lines of its own. */
  wide?: boolean;
}

interface TableProps<T> {
  label: string;
  columns: Column<T>[];
  rows: readonly T[];
  rowKey: (row: T) => string | number;
  /** `util` ascending or `-util` descending; "" as given. */
  order?: string;
  onOrder?: (order: string) => void;
  /** Enter or a click on a row. Give the first column a link or a button too where the row opens something. */
  onOpen?: (row: T) => void;
  /** Marks a row, such as the one whose drawer is open. */
  marked?: (row: T) => boolean;
}

const ROW = 33; // px, until one has been measured: a card is taller, each as tall as the others while there are many
const ALL_BELOW = 120;
const SPARE = 12;

export function Table<T>(props: TableProps<T>) {
  const { columns, label, rowKey, order = "" } = props;
  const rows = sorted(props.rows, columns, order);
  const box = useRef<HTMLDivElement>(null);
  const many = rows.length > ALL_BELOW;
  const [view, setView] = useState({ top: 0, height: 600, row: ROW });
  useLayoutEffect(() => {
    const element = box.current;
    if (!element || !many) return;
    const look = () => {
      const row = element.querySelector<HTMLElement>("tr[aria-rowindex]")!.offsetHeight;
      setView({ top: element.scrollTop, height: element.clientHeight, row });
    };
    look();
    const watch = new ResizeObserver(look);
    watch.observe(element);
    element.addEventListener("scroll", look, { passive: true });
    return () => {
      watch.disconnect();
      element.removeEventListener("scroll", look);
    };
  }, [many]);
  const first = many ? Math.max(0, Math.min(Math.floor(view.top / view.row) - SPARE, rows.length - 1)) : 0;
  const last = many ? Math.min(rows.length, Math.ceil((view.top + view.height) / view.row) + SPARE) : rows.length;
  return (
    <div class={many ? "table-box many" : "table-box"} ref={box} tabIndex={0} role="region" aria-label={`${label}, table`}>
      <table class="records" aria-rowcount={rows.length + 1}>
        <thead>
          <tr>{columns.map((column) => <Heading key={column.id} column={column} order={order} onOrder={props.onOrder} />)}</tr>
        </thead>
        <tbody>
          {first > 0 && <Spacer height={first * view.row} />}
          {rows.slice(first, last).map((row, place) => (
            <tr key={rowKey(row)} aria-rowindex={first + place + 2} class={rowClass(props, row)}
              onClick={props.onOpen && ((event) => opens(event) && props.onOpen?.(row))}>
              {columns.map((column, at) => <td key={column.id} class={cellClass(column)} data-title={at && !column.quiet ? column.title : undefined}>{column.cell(row)}</td>)}
            </tr>
          ))}
          {last < rows.length && <Spacer height={(rows.length - last) * view.row} />}
        </tbody>
      </table>
    </div>
  );
}

interface HeadingProps<T> {
  column: Column<T>;
  order: string;
  onOrder?: ((order: string) => void) | undefined;
}

function Heading<T>({ column, order, onOrder }: HeadingProps<T>) {
  const here = order.replace(/^-/, "") === column.id;
  const down = order.startsWith("-");
  if (!column.by || !onOrder) return <th class={cellClass(column)} scope="col">{column.quiet ? <span class="sr">{column.title}</span> : column.title}</th>;
  const next = here && !down ? `-${column.id}` : column.id;
  return (
    <th class={cellClass(column)} scope="col" aria-sort={here ? (down ? "descending" : "ascending") : "none"}>
      <button type="button" class="sort" onClick={() => onOrder(next)}>
        {column.title}
        {here && <Icon name={down ? "down" : "up"} />}
      </button>
    </th>
  );
}

const Spacer = ({ height }: { height: number }) => <tr aria-hidden="true"><td style={{ height: `${height}px`, padding: 0 }} /></tr>;

function sorted<T>(rows: readonly T[], columns: Column<T>[], order: string): readonly T[] {
  const by = columns.find((column) => column.id === order.replace(/^-/, ""))?.by;
  if (!by) return rows;
  const sign = order.startsWith("-") ? -1 : 1;
  return rows.map((row) => ({ row, value: by(row) })).sort((a, b) => {
    if (a.value === null || b.value === null) return a.value === b.value ? 0 : a.value === null ? 1 : -1;
    return sign * (typeof a.value === "string" ? a.value.localeCompare(String(b.value)) : a.value - Number(b.value));
  }).map((each) => each.row);
}

const opens = (event: MouseEvent): boolean =>
  !(event.target as Element).closest("a, button, input, select") && !getSelection()?.toString();
const cellClass = ({ numeric, wide, quiet }: { numeric?: boolean; wide?: boolean; quiet?: boolean }): string =>
  [numeric ? "num" : "", wide ? "wide" : "", quiet ? "quiet" : ""].filter(Boolean).join(" ");
function rowClass<T>(props: TableProps<T>, row: T): string {
  return [props.onOpen ? "opens" : "", props.marked?.(row) ? "marked" : ""].filter(Boolean).join(" ");
}
