// SPDX-License-Identifier: Apache-2.0
/**
 * A table of any length: rows that are seen are there, others are not. One stop of the Tab key; arrows, j and k, Home, End and the
 * page keys move in it, Enter opens. What is chosen is remembered by its key, so that it stays what it is when rows move. What is too
 * long for its cell is whole below the table, of the chosen row, and under the pointer.
 */
import { useVirtualizer } from '@tanstack/react-virtual';
import {
  type CSSProperties,
  type KeyboardEvent,
  memo,
  type PointerEvent,
  type ReactNode,
  useId,
  useLayoutEffect,
  useMemo,
  useRef,
  useState,
} from 'react';
import { type Order, sorted } from './sorted.js';

export interface Column<T> {
  readonly key: string;
  readonly title: string;
  /** As in grid-template-columns. Default "minmax(120px, 1fr)": what does not fit is scrolled to. */
  readonly width?: string;
  readonly align?: 'end';
  readonly render: (row: T) => ReactNode;
  /** Absent: not to be sorted by. */
  readonly value?: (row: T) => string | number | bigint;
}

interface DataTableProps<T> {
  readonly label: string;
  /** The same array as long as its columns are the same. */
  readonly columns: readonly Column<T>[];
  readonly rows: readonly T[];
  readonly rowKey: (row: T) => string;
  readonly order?: Order;
  readonly open?: (row: T) => void;
  readonly empty: string;
}

const ROW_PX = 36;
const DEFAULT_WIDTH = 'minmax(120px, 1fr)';
/** So many rows are shown whole; of more, as many as the window has room for. */
const SHORT_ROWS = 12;

export function DataTable<T>({
  label,
  columns,
  rows,
  rowKey,
  order: first,
  open,
  empty,
}: DataTableProps<T>): ReactNode {
  const [order, setOrder] = useState(first);
  const [chosen, setChosen] = useState<string | undefined>(undefined);
  const scroller = useRef<HTMLDivElement>(null);
  const id = useId();
  const shown = useMemo(() => {
    const by = columns.find(({ key }) => key === order?.key)?.value;
    return order === undefined || by === undefined ? rows : sorted(rows, by, order.descending);
  }, [rows, columns, order]);
  const virtual = useVirtualizer({
    count: shown.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW_PX,
    overscan: 8,
  });
  const template = columns.map(({ width }) => width ?? DEFAULT_WIDTH).join(' ');
  const least = columns.reduce((sum, { width }) => sum + leastWidthPx(width), 0);
  const at = chosen === undefined ? -1 : shown.findIndex((row) => rowKey(row) === chosen);
  const [cut, setCut] = useState(NOTHING_CUT);
  // After each drawing: the row may have scrolled into being with this one.
  useLayoutEffect(() => {
    const now = cutTexts(at < 0 ? null : document.getElementById(`${id}-${at}`), columns);
    setCut((before) => (isSame(before, now) ? before : now));
  });

  const move = (to: number): void => {
    const index = Math.min(shown.length - 1, Math.max(0, to));
    const row = shown[index];
    if (row === undefined) return;
    setChosen(rowKey(row));
    virtual.scrollToIndex(index);
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.target !== scroller.current || event.ctrlKey || event.altKey || event.metaKey) return;
    const page = Math.max(1, Math.floor((scroller.current?.clientHeight ?? 0) / ROW_PX) - 1);
    const steps: Readonly<Record<string, number>> = {
      ArrowDown: at + 1,
      j: at + 1,
      ArrowUp: at - 1,
      k: at - 1,
      PageDown: at + page,
      PageUp: at - page,
      Home: 0,
      g: 0,
      End: shown.length - 1,
      G: shown.length - 1,
    };
    const to = steps[event.key];
    const row = shown[at];
    if (to !== undefined) move(to);
    else if (event.key === 'Enter' && row !== undefined) open?.(row);
    else return;
    event.preventDefault();
  };

  const height = Math.min(shown.length, SHORT_ROWS) * ROW_PX;
  const grid = (
    // biome-ignore lint/a11y/useSemanticElements: a table element can't hold rows that are placed
    <div
      className="table"
      role="grid"
      aria-label={label}
      aria-rowcount={shown.length + 1}
      aria-colcount={columns.length}
      aria-activedescendant={at < 0 ? undefined : `${id}-${at}`}
      tabIndex={0}
      ref={scroller}
      onKeyDown={onKeyDown}
      onPointerOver={tellWhole}
      style={{ '--columns': template, '--least': `${least}px`, '--rows': `${height + ROW_PX + 2}px` } as CSSProperties}
      data-long={shown.length > SHORT_ROWS}
    >
      {/* biome-ignore lint/a11y/useSemanticElements: as above */}
      <div role="row" className="table-head" aria-rowindex={1} tabIndex={-1}>
        {columns.map((column) => (
          <HeaderCell key={column.key} column={column} order={order} setOrder={setOrder} />
        ))}
      </div>
      {shown.length === 0 ? (
        // biome-ignore lint/a11y/useSemanticElements: as above
        <div role="row" className="table-empty" tabIndex={-1}>
          {/* biome-ignore lint/a11y/useSemanticElements: as above */}
          <div role="gridcell" tabIndex={-1}>
            {empty}
          </div>
        </div>
      ) : (
        // biome-ignore lint/a11y/useSemanticElements: as above
        <div role="rowgroup" className="table-body" style={{ height: virtual.getTotalSize() }}>
          {virtual.getVirtualItems().map(({ index, start }) => {
            const row = shown[index];
            if (row === undefined) return null;
            const key = rowKey(row);
            return (
              <Row
                key={key}
                id={`${id}-${index}`}
                row={row as unknown}
                columns={columns as readonly Column<unknown>[]}
                index={index}
                start={start}
                isChosen={key === chosen}
                choose={setChosen}
                rowKey={key}
                open={open as ((row: unknown) => void) | undefined}
              />
            );
          })}
        </div>
      )}
    </div>
  );
  return (
    <>
      {grid}
      {cut.length > 0 && (
        <dl className="table-cut">
          {cut.map(({ title, text }) => (
            <div key={title}>
              <dt>{title}</dt>
              <dd>{text}</dd>
            </div>
          ))}
        </dl>
      )}
    </>
  );
}

interface CutText {
  /** Of the column. */
  readonly title: string;
  readonly text: string;
}

const NOTHING_CUT: readonly CutText[] = [];

/** Of a row, what the cells have no room for. */
function cutTexts(row: HTMLElement | null, columns: readonly { readonly title: string }[]): readonly CutText[] {
  return [...(row?.children ?? [])].flatMap((cell, i) =>
    isCut(cell) ? [{ title: columns[i]?.title ?? '', text: cell.textContent }] : [],
  );
}

function isCut(cell: Element): boolean {
  return cell.scrollWidth > cell.clientWidth;
}

function isSame(one: readonly CutText[], other: readonly CutText[]): boolean {
  return (
    one.length === other.length &&
    one.every(({ title, text }, i) => other[i]?.title === title && other[i].text === text)
  );
}

/** Under the pointer. What a cell says of itself is more than that. */
function tellWhole({ target }: PointerEvent): void {
  const cell = (target as Element).closest<HTMLElement>('.table-row .cell');
  if (cell === null) return;
  if (isCut(cell)) cell.title = cell.textContent;
  else cell.removeAttribute('title');
}

/** So much a share of the width is to have: where there is less, the table scrolls rather than cut names to a letter. */
const SHARE_PX = 104;

export function leastWidthPx(width = DEFAULT_WIDTH): number {
  const [, px] = /^(?:minmax\()?(\d+)px/.exec(width) ?? [];
  const [, share = '1'] = /([\d.]+)fr/.exec(width) ?? [];
  return px === undefined ? SHARE_PX * Number(share) : Number(px);
}

interface HeaderCellProps<T> {
  readonly column: Column<T>;
  readonly order: Order | undefined;
  readonly setOrder: (order: Order) => void;
}

function HeaderCell<T>({ column, order, setOrder }: HeaderCellProps<T>): ReactNode {
  const { key, title, align, value } = column;
  const isBy = order?.key === key;
  const direction = !isBy ? 'none' : order.descending ? 'descending' : 'ascending';
  const sort = value === undefined ? {} : { 'aria-sort': direction as 'none' | 'ascending' | 'descending' };
  return (
    // biome-ignore lint/a11y/useSemanticElements: a table element can't hold rows that are placed
    <div role="columnheader" className="cell" data-align={align} tabIndex={-1} {...sort}>
      {value === undefined ? (
        title
      ) : (
        <button type="button" onClick={() => setOrder({ key, descending: isBy ? !order.descending : align === 'end' })}>
          {title}
          {isBy && (
            <span aria-hidden="true" className="sort-mark">
              {order.descending ? '▼' : '▲'}
            </span>
          )}
        </button>
      )}
    </div>
  );
}

interface RowProps {
  readonly id: string;
  readonly row: unknown;
  readonly rowKey: string;
  readonly columns: readonly Column<unknown>[];
  readonly index: number;
  readonly start: number;
  readonly isChosen: boolean;
  readonly choose: (key: string) => void;
  readonly open: ((row: unknown) => void) | undefined;
}

/** Drawn anew only where what it shows has changed: states share what has not. */
const Row = memo(function Row({ id, row, rowKey, columns, index, start, isChosen, choose, open }: RowProps): ReactNode {
  return (
    // biome-ignore lint/a11y/useSemanticElements: a table element can't hold rows that are placed
    // biome-ignore lint/a11y/useKeyWithClickEvents: keys are the grid's
    <div
      role="row"
      id={id}
      className="table-row"
      aria-rowindex={index + 2}
      aria-selected={isChosen}
      data-opens={open !== undefined}
      tabIndex={-1}
      style={{ transform: `translateY(${start}px)` }}
      onClick={(event) => {
        choose(rowKey);
        if (open !== undefined && !(event.target as Element).closest('a,button')) open(row);
      }}
    >
      {columns.map(({ key, align, render }) => (
        // biome-ignore lint/a11y/useSemanticElements: as above
        <div key={key} role="gridcell" className="cell" data-align={align} tabIndex={-1}>
          {render(row)}
        </div>
      ))}
    </div>
  );
});
