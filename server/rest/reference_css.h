// The style of the reference page.
#ifndef UMBRA_SERVER_REST_REFERENCE_CSS_H_
#define UMBRA_SERVER_REST_REFERENCE_CSS_H_

namespace umbra::rest {

inline constexpr char kReferenceCss[] = R"css(:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0; }
main { max-width: 70rem; margin: 0 auto; padding: 1rem; }
h2 { margin-top: 2rem; border-bottom: 1px solid; }
details { margin: 0.25rem 0; padding: 0.25rem 0.5rem; border-left: 3px solid #7a8794; }
details[open] { background: #7a87941a; }
summary { cursor: pointer; }
summary b { display: inline-block; min-width: 4.5rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: 0.25rem 0.75rem 0.25rem 0; border-bottom: 1px solid #7a879455; }
code { font-size: 0.9em; overflow-wrap: anywhere; }
)css";

}  // namespace umbra::rest

#endif  // UMBRA_SERVER_REST_REFERENCE_CSS_H_
