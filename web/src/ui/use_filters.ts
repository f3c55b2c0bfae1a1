import { useSearchParams } from 'react-router'

/** What a page shows is in its address, so that it can be passed on. `set` with an empty value takes a key out; going back leaves the page, not the choice. */
export function useFilters(): [URLSearchParams, (key: string, value: string) => void] {
  const [params, setParams] = useSearchParams()
  const set = (key: string, value: string) =>
    setParams((before) => {
      if (value) before.set(key, value)
      else before.delete(key)
      return before
    }, { replace: true })
  return [params, set]
}
