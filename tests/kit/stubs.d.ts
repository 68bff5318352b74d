// As much of the application's libraries as the generated component names.
declare module "react/jsx-runtime" {
  export const jsx: (...of: unknown[]) => JSX.Element;
  export const jsxs: typeof jsx;
}
declare namespace JSX {
  interface Element {}
}
declare module "react-router" {
  export interface Path {
    pathname: string;
    search: string;
    hash: string;
  }
  export function useLocation(): Path;
  export function Navigate(props: { to: Partial<Path>; replace?: boolean }): JSX.Element;
}
