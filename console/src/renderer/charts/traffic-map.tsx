// SPDX-License-Identifier: Apache-2.0
import type { ReactNode } from 'react';
import { formatRoute } from '../state/routes.js';
import { bitRate, count } from '../text/quantity.js';
import { said } from '../text/said.js';
import { BOX_HEIGHT, type MapBox, type TrafficMapLayout } from './traffic-map-layout.js';

const WIDTH = 960;
const BOX_WIDTH = 220;
const LEFT = [0, (WIDTH - BOX_WIDTH) / 2, WIDTH - BOX_WIDTH] as const;
const LETTERS_MAX = 28;

export function TrafficMap({ layout }: { readonly layout: TrafficMapLayout }): ReactNode {
  const { boxes, links, height } = layout;
  return (
    // biome-ignore lint/a11y/useSemanticElements: there is no fieldset in an SVG
    <svg
      className="traffic-map"
      viewBox={`0 0 ${WIDTH} ${height}`}
      role="group"
      aria-label="Traffic from services over nodes to backends"
    >
      {/* biome-ignore lint/a11y/noAriaHiddenOnFocusable: nothing in it takes the focus */}
      <g aria-hidden="true">
        {links.map(({ key, y1, y2, side, share, health }) => {
          const column = side === 'service' ? 0 : 1;
          const [x1, x2] = [LEFT[column] + BOX_WIDTH, LEFT[column + 1] ?? WIDTH];
          const bend = (x2 - x1) / 2;
          return (
            <path
              key={key}
              className="map-link"
              data-health={health}
              strokeWidth={1 + 9 * Math.sqrt(share)}
              d={`M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`}
            />
          );
        })}
      </g>
      {boxes.map((box) => (
        <Box key={box.key} box={box} />
      ))}
    </svg>
  );
}

function Box({ box: { column, label, detail, health, leads, y } }: { readonly box: MapBox }): ReactNode {
  const name = said(label);
  const figures =
    column === 2 ? `${count(detail.open)} open` : `${bitRate(detail.bytesPerSecond)}, ${count(detail.open)} open`;
  const body = (
    <>
      <rect x={LEFT[column]} y={y} width={BOX_WIDTH} height={BOX_HEIGHT} rx={4} className="map-box" />
      <rect x={LEFT[column]} y={y} width={4} height={BOX_HEIGHT} rx={2} className="map-health" data-health={health}>
        <title>{health}</title>
      </rect>
      <text x={LEFT[column] + 12} y={y + 14} className="map-name">
        {name.length > LETTERS_MAX ? `${name.slice(0, LETTERS_MAX - 1)}…` : name}
      </text>
      <text x={LEFT[column] + 12} y={y + 28} className="map-figures">
        {figures}
      </text>
    </>
  );
  if (leads === undefined) return <g>{body}</g>;
  return <a href={formatRoute(leads)}>{body}</a>;
}
