package dev.fairstow.spark;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.UUID;

/** By which names a job's work is remembered, the most telling first. */
final class Names {
    private Names() {}

    static String template(String told) {
        return "template " + told;
    }

    static String site(String site) {
        return "site " + site;
    }

    /** A plan's names: with its numbers, which say how much is read, and without. */
    static List<String> plan(String description) {
        String plan = description.replaceAll("#\\d+L?|plan_id=\\d+", "");
        List<String> names = new ArrayList<>();
        names.add("plan " + hash(plan));
        names.add("shape " + hash(plan.replaceAll("\\d+", "0")));
        return names;
    }

    private static String hash(String text) {
        return UUID.nameUUIDFromBytes(text.getBytes(StandardCharsets.UTF_8)).toString();
    }
}
