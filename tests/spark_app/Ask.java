package dev.fairstow.spark;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.Collections;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Properties;

/** Answers one question a line, words apart by tabs, about what the plugin does without Spark. */
final class Ask {
    private static double now;
    private static FairScheduler scheduler;
    private static final Map<String, Object> MANAGERS = new LinkedHashMap<>();

    private Ask() {}

    public static void main(String[] arguments) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            System.out.println(answer(line.split("\t", -1)));
        }
    }

    private static String answer(String[] asked) {
        switch (asked[0]) {
            case "user":
                return Identity.user(properties(asked), "root");
            case "settings":
                return "" + RuntimePartitioning.settings(
                        at(asked, 1), at(asked, 2), at(asked, 3), 0.5, at(asked, 4));
            case "new":
                now = 0;
                MANAGERS.clear();
                scheduler = new FairScheduler(() -> now, user -> 1.0);
                scheduler.resize(at(asked, 1));
                return "";
            case "clock":
                now = at(asked, 1);
                return "";
            case "stage":
                int stage = Integer.parseInt(asked[1]);
                Object manager = MANAGERS.computeIfAbsent(asked[1], any -> new Object());
                scheduler.stage(
                        manager, stage, 4, asked[2], asked[3], Collections.singletonList(asked[4]));
                return "";
            case "task":
                return "" + scheduler.task(Integer.parseInt(asked[1]), at(asked, 2), 0, 0);
            case "gone":
                MANAGERS.remove(asked[1]);
                System.gc();
                return "";
            case "end":
                scheduler.end(asked[1]);
                return "";
            case "ranks":
                Map<Object, Integer> ranks = scheduler.ranks(MANAGERS.values());
                Map<String, Integer> named = new HashMap<>();
                MANAGERS.forEach((name, each) -> named.put(name, ranks.get(each)));
                return "" + named;
            case "explain":
                return String.join("|", scheduler.explain());
            default:
                throw new IllegalArgumentException(asked[0]);
        }
    }

    private static Properties properties(String[] asked) {
        Properties properties = new Properties();
        for (int at = 1; at + 1 < asked.length; at += 2) {
            properties.setProperty(asked[at], asked[at + 1]);
        }
        return properties;
    }

    private static double at(String[] asked, int at) {
        return Double.parseDouble(asked[at]);
    }
}
