/// Figures of repeated runs.
struct Samples {
    var values: [Double] = []
    /// Runs that gave no figure: never noticed, never agreed.
    var missing = 0

    mutating func add(_ value: Double?) {
        if let value { values.append(value) } else { missing += 1 }
    }
    /// The nearest-rank percentile, 0 to 1; nil without values.
    func percentile(_ share: Double) -> Double? {
        guard !values.isEmpty else { return nil }
        let rank = Int((share * Double(values.count)).rounded(.up))
        return values.sorted()[min(max(rank, 1), values.count) - 1]
    }
    var largest: Double? { values.max() }
}

func decimal(_ value: Double, _ places: Int) -> String {
    var scale = 1.0
    for _ in 0..<places { scale *= 10 }
    let scaled = Int((value.magnitude * scale).rounded())
    let sign = value < 0 && scaled != 0 ? "-" : ""
    guard places > 0 else { return "\(sign)\(scaled)" }
    let fraction = String(scaled % Int(scale))
    return "\(sign)\(scaled / Int(scale)).\(String(repeating: "0", count: places - fraction.count))\(fraction)"
}
func seconds(_ value: Double?) -> String { value.map { "\(decimal($0, 2)) s" } ?? "never" }
func mebibytes(_ value: Double?) -> String { value.map { "\(decimal($0, 1)) MiB" } ?? "" }
func percent(_ value: Double?) -> String { value.map { "\(decimal($0, 2)) %" } ?? "" }
func milliseconds(_ value: Double?) -> String { value.map { "\(decimal($0 * 1000, 2)) ms" } ?? "" }
func microseconds(_ value: Double?) -> String { value.map { "\(decimal($0 * 1_000_000, 0)) µs" } ?? "" }
