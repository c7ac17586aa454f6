package dev.fairstow.spark;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * How much work a job will be, in core-seconds, from what jobs of the same template took.
 *
 * <p>A template's estimate is an exponentially weighted mean (weight of the newest: 0.3) per user; a
 * template that this user never ran is taken for the user's median job, a new user's for
 * everybody's, and the very first for one core-second.
 */
final class Estimates {
    static final double NEWEST = 0.3;
    static final double UNKNOWN = 1.0;
    private static final int TEMPLATES = 10_000;
    private static final int REMEMBERED = 101;

    /** What a template took: core-seconds, bytes read from files, bytes written to shuffles. */
    static final class Past {
        final double work;
        final double scanned;
        final double shuffled;

        Past(double work, double scanned, double shuffled) {
            this.work = work;
            this.scanned = scanned;
            this.shuffled = shuffled;
        }

        private Past then(Past newest) {
            return new Past(
                    work + NEWEST * (newest.work - work),
                    scanned + NEWEST * (newest.scanned - scanned),
                    shuffled + NEWEST * (newest.shuffled - shuffled));
        }
    }

    private final Map<String, Past> templates =
            new LinkedHashMap<String, Past>(64, 0.75f, true) {
                @Override
                protected boolean removeEldestEntry(Map.Entry<String, Past> eldest) {
                    return size() > TEMPLATES;
                }
            };
    private final Map<String, List<Double>> byUser = new HashMap<>();
    private final List<Double> everybody = new ArrayList<>();

    double work(String user, List<String> names) {
        Past past = past(user, names);
        if (past != null) {
            return past.work;
        }
        List<Double> own = byUser.get(user);
        return own != null ? median(own) : everybody.isEmpty() ? UNKNOWN : median(everybody);
    }

    Past past(String user, List<String> names) {
        for (String name : names) {
            Past past = templates.get(user + "\n" + name);
            if (past != null) {
                return past;
            }
        }
        return null;
    }

    void learn(String user, List<String> names, Past run) {
        for (String name : names) {
            templates.merge(user + "\n" + name, run, Past::then);
        }
        if (byUser.size() < TEMPLATES || byUser.containsKey(user)) {
            remember(byUser.computeIfAbsent(user, any -> new ArrayList<>()), run.work);
        }
        remember(everybody, run.work);
    }

    private static void remember(List<Double> works, double work) {
        if (works.size() == REMEMBERED) {
            works.remove(0);
        }
        works.add(work);
    }

    private static double median(List<Double> works) {
        double[] sorted = works.stream().mapToDouble(Double::doubleValue).toArray();
        Arrays.sort(sorted);
        int middle = sorted.length / 2;
        return sorted.length % 2 == 1
                ? sorted[middle]
                : (sorted[middle - 1] + sorted[middle]) / 2;
    }
}
