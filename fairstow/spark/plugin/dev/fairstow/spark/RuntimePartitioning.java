package dev.fairstow.spark;

import java.util.LinkedHashMap;
import java.util.Map;

/**
 * Session settings by which a job of known work is cut into tasks of about a target run time.
 *
 * <p>The formulas of fairstow/spark/partitioning.py, where they are explained. Spark ignores these as
 * options of one read, so that they are settings of the session that the job is planned in.
 */
public final class RuntimePartitioning {
    private static final long LEAST_BYTES = 64 * 1024;
    private static final long MOST_TASKS = 10_000;
    private static final double LEAST_SECONDS = 0.1;

    private RuntimePartitioning() {}

    /** Settings for `work` core-seconds over so many bytes; none where nothing is known (0). */
    public static Map<String, String> settings(
            double work, double scanned, double shuffled, double targetSeconds, double cores) {
        Map<String, String> settings = new LinkedHashMap<>();
        if (!(work > 0) || !(scanned > 0) || !(targetSeconds > 0)) {
            return settings;
        }
        double cut = Math.ceil(work / targetSeconds - 1e-9);
        double forCores = Math.min(Math.floor(cores), Math.floor(work / LEAST_SECONDS + 1e-9));
        long tasks = (long) Math.min(Math.max(Math.max(cut, forCores), 1), MOST_TASKS);
        settings.put("spark.sql.files.maxPartitionBytes", bytes(scanned, tasks));
        settings.put("spark.sql.files.minPartitionNum", Long.toString(tasks));
        settings.put("spark.sql.files.openCostInBytes", "0");
        if (shuffled > 0) {
            settings.put(
                    "spark.sql.adaptive.advisoryPartitionSizeInBytes", bytes(shuffled, tasks));
            settings.put(
                    "spark.sql.adaptive.coalescePartitions.minPartitionNum", Long.toString(tasks));
            settings.put("spark.sql.adaptive.coalescePartitions.parallelismFirst", "false");
        }
        return settings;
    }

    private static String bytes(double all, long tasks) {
        return Long.toString(Math.max((long) Math.ceil(all / tasks), LEAST_BYTES));
    }
}
