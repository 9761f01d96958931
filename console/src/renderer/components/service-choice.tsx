// SPDX-License-Identifier: Apache-2.0
/** One service, or all: typed, with what is there to choose from. A list of thousands is no menu. */
import { type ReactNode, useId, useState } from 'react';
import { useFleet } from '../state/console.js';

interface ServiceChoiceProps {
  /** '': all. */
  readonly value: string;
  readonly set: (service: string) => void;
}

const OFFERED_MAX = 200;

/** It counts once it is the name of a service. */
export function ServiceChoice({ value, set }: ServiceChoiceProps): ReactNode {
  const { services } = useFleet();
  const [typed, setTyped] = useState(value);
  const id = useId();
  const isKnown = typed === '' || services.has(typed);
  const offered = [...services.keys()].filter((name) => name.includes(typed)).slice(0, OFFERED_MAX);
  return (
    <label>
      Service{' '}
      <input
        className="service-choice"
        list={id}
        value={typed}
        placeholder="all"
        maxLength={63}
        spellCheck={false}
        data-noted={!isKnown}
        title={isKnown ? undefined : 'There is no service of this name'}
        onChange={({ target }) => {
          setTyped(target.value);
          if (target.value === '' || services.has(target.value)) set(target.value);
        }}
      />
      <datalist id={id}>
        {offered.map((name) => (
          <option key={name} value={name} />
        ))}
      </datalist>
    </label>
  );
}
